"""Data sets of the Hugging Face hub: their ids, and their rows read through ``datasets``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.files import SUFFIXES, TRAIN, Raw
from bench.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset

_ID = re.compile(r"(?P<name>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w./-]+))?(:(?P<split>[\w.+\-]+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class HubId:
    """``org/name``, ``org/name:split``, ``org/name@revision:split``."""

    name: str
    revision: str | None
    split: str | None


def hub_id(path: Path) -> HubId | None:
    """Return the id that a path is, None where it is the path of a file: it exists, or its directory does."""
    match = _ID.fullmatch(str(path))
    if match is None or path.exists() or str(path).endswith(SUFFIXES):
        return None
    # A mistyped file of a directory that is there is no data set of somebody with that name.
    if path.parent.is_dir() or match["name"].startswith("."):
        return None
    return HubId(name=match["name"], revision=match["revision"], split=match["split"])


def hub_rows(data_set: HubId, *, split: str | None, config: str | None) -> Iterator[Raw]:
    """Yield the rows of a data set of the hub, or of its copy in the local cache.

    Raises UsageError where there is no such data set or split, or no network and no copy.
    """
    for number, row in enumerate(_load(data_set, split=split, config=config), start=1):
        yield "", number, row


def hub_files(data_set: HubId, *, split: str | None, config: str | None) -> list[Path]:
    """Return the files of the local cache that the rows of a data set of the hub lie in. Raises UsageError likewise."""
    return [Path(each["filename"]) for each in _load(data_set, split=split, config=config).cache_files]


def _load(data_set: HubId, *, split: str | None, config: str | None) -> "Dataset":
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    wanted = data_set.split or split or TRAIN
    option = f"--data {data_set.name}"
    try:
        return datasets.load_dataset(data_set.name, name=config, split=wanted, revision=data_set.revision)
    except (ConnectionError, OSError, DatasetsError, HfHubHTTPError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise UsageError(
            f"{option} is no file here, and the hub gave no data set of that name: {first}",
            fix="correct the path; or, with a network, check name, split (org/name:split) and revision "
            "(org/name@revision); or fetch it where there is a network and copy the files here: "
            f"`hf download --repo-type dataset {data_set.name} --local-dir DIR`, then --data DIR; HF_HUB_OFFLINE=1 "
            "spares the wait for a network that is not there",
        ) from None

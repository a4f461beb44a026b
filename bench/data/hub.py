"""Data sets of the Hugging Face hub: their ids, and their rows read through ``datasets``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.data.files import SUFFIXES, TRAIN, Raw
from bench.errors import UsageError

_ID = re.compile(r"(?P<name>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w./-]+))?(:(?P<split>[\w.+\-]+))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class HubId:
    """``org/name``, ``org/name:split``, ``org/name@revision:split``."""

    name: str
    revision: str | None
    split: str | None


def hub_id(path: Path) -> HubId | None:
    """Return the id that a path is, None where it is the path of a file: it exists, or its directory does."""
    found = _ID.fullmatch(str(path))
    if found is None or path.exists() or str(path).endswith(SUFFIXES):
        return None
    # A mistyped file of a directory that is there is no data set of somebody with that name.
    if path.parent.is_dir() or found["name"].startswith("."):
        return None
    return HubId(name=found["name"], revision=found["revision"], split=found["split"])


def hub_rows(found: HubId, *, split: str | None, config: str | None) -> Iterator[Raw]:
    """Yield the rows of a data set of the hub, or of its copy in the local cache.

    Raises UsageError where there is no such data set or split, or no network and no copy.
    """
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    wanted = found.split or split or TRAIN
    told = f"--data {found.name}"
    try:
        rows = datasets.load_dataset(found.name, name=config, split=wanted, revision=found.revision)
    except (ConnectionError, OSError, DatasetsError, HfHubHTTPError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise UsageError(
            f"{told} is no file here, and the hub gave no data set of that name: {first}",
            fix="correct the path; or, with a network, check name, split (org/name:split) and revision "
            "(org/name@revision); or fetch it where there is a network and copy the files here: "
            f"`hf download --repo-type dataset {found.name} --local-dir DIR`, then --data DIR; HF_HUB_OFFLINE=1 spares "
            "the wait for a network that is not there",
        ) from None
    for number, row in enumerate(rows, start=1):
        yield "", number, row

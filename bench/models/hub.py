"""Snapshots of hub models, OWNER/NAME[@REVISION], from the local cache or the hub."""

import re
from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError

NAME = re.compile(r"(?P<repo>\w[\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?")
COMMIT = re.compile("[0-9a-f]{40}")
WEIGHTS = "*.safetensors"
WANTED = [WEIGHTS, "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken"]
"""Files of a model to download: no pickles, no code."""
UNWANTED = ["[!a]*/*", "a[!d]*/*", "ad[!d]*/*", "consolidated*.safetensors"]
"""Folders of other formats, but not that of named chat templates (additional_chat_templates), and the same weights a
second time under names of their maker's own."""
MAIN = "main"


class Snapshot(NamedTuple):
    """A folder with the files of one commit, and ``OWNER/NAME@COMMIT``."""

    folder: Path
    source: str


def is_hub_name(source: str) -> bool:
    """Return whether ``source`` may name a model on a hub; what is a file or folder here never does."""
    return NAME.fullmatch(source) is not None and not source.lower().endswith(".gguf") and not Path(source).exists()


def snapshot(source: str, *, weights: bool = True) -> Snapshot:
    """Return the snapshot that ``OWNER/NAME[@REVISION]`` names: from the cache if it is there, else from the hub.

    A branch or tag is resolved by the hub, where it answers, since it may have moved; a commit never moves.

    Args:
        weights: False: configuration and tokenizer alone are fetched.

    Raises:
        UsageError: it is neither in the cache nor on the hub, or the hub denies access.
    """
    from bench.utils.isolation import hub_answers, quiet

    match = NAME.fullmatch(source)
    assert match is not None
    repo, revision = match["repo"], match["revision"] or MAIN
    with quiet():
        wanted = [pattern for pattern in WANTED if weights or pattern != WEIGHTS]
        folder = _cached(repo, revision, wanted) if COMMIT.fullmatch(revision) else None
        reason = "the hub cannot be reached, or HF_HUB_OFFLINE says not to ask it"
        if folder is None and hub_answers():
            folder, reason = _downloaded(repo, revision, wanted)
        if folder is None:
            folder = _cached(repo, revision, wanted)
    if folder is None:
        raise UsageError(
            f"model {source!r}: no such folder, and no model of that name in the hub's cache; {reason}",
            fix="give a folder with config.json, tokenizer.json and *.safetensors, FILE.gguf, run:KEY, or "
            "OWNER/NAME[@REVISION]; `hf download OWNER/NAME` fills the cache where there is a network",
        )
    return Snapshot(folder, f"{repo}@{folder.name}")


def in_cache(source: str) -> bool:
    """Return whether the cache has a snapshot of ``OWNER/NAME[@REVISION]``, whole; without the hub."""
    match = NAME.fullmatch(source)
    return match is not None and _cached(match["repo"], match["revision"] or MAIN, WANTED) is not None


def _cached(repo: str, revision: str, wanted: list[str]) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=wanted, ignore_patterns=UNWANTED, local_files_only=True
        )
    except (OSError, ValueError):  # none, or a part of one
        return None
    return Path(folder)


def _downloaded(repo: str, revision: str, wanted: list[str]) -> tuple[Path | None, str]:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, ignore_patterns=UNWANTED)), ""
    except Exception as error:  # the hub says in many ways that it has none
        return None, f"the hub says {type(error).__name__}"

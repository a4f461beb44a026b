"""The index of a results folder's loose files: tables, figures, page, bundle, and journals of studies.

They lie in no folder that has a manifest. Reports are remembered whole; a journal only grows, so what is remembered is
its length and the hash of as much of it.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.manifest import Entry, first_fault, name_of
from bench.errors import RunError
from bench.utils.files import naming_disk_errors, write_text_whole

WRITTEN = "written.json"
JOURNALS = "studies/*/journal.log"
GROWING = "journal.log"


class Written(BaseModel):
    """The loose files by relative path. ``digest`` is of the others, so that a changed bit of this file shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    files: dict[str, Entry]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    def text(self) -> str:
        """Return the only text that stands for this."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n"


def remember(results: Path, paths: Iterable[Path]) -> None:
    """Remember ``paths`` (below ``results``) and every journal of a study as they are now. Raises RunError."""
    with naming_disk_errors(results, "write in"), _locked(results):
        files = {**_known(results)}
        for path in (*paths, *results.glob(JOURNALS)):
            files[name_of(results, path)] = _entry(path, None)
        write_text_whole(results / WRITTEN, written_of(files).text())


def written_of(files: Mapping[str, Entry]) -> Written:
    """Return ``Written`` of these files, with its digest."""
    text = json.dumps({name: entry.model_dump() for name, entry in files.items()}, sort_keys=True)
    return Written(files=dict(files), digest=hashlib.sha256(text.encode()).hexdigest())


def read_written(results: Path) -> Written | None:
    """Return what ``results`` remembers, None where nothing. Raises RunError where that file is damaged."""
    path = results / WRITTEN
    with naming_disk_errors(path, "read"):
        if not path.is_file():
            return None
        content = path.read_bytes()
    fix = f"delete {path}; the next command writes it again"
    try:
        written = Written.model_validate_json(content)
    except ValidationError as error:
        raise RunError(f"{path} is damaged: {first_fault(error)}", fix=fix) from error
    stray = [name for name in written.files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if stray or written != written_of(written.files) or written.text().encode() != content:
        raise RunError(f"{path} is damaged: it is not what was written", fix=fix)
    return written


def changed(results: Path) -> list[tuple[Path, str]]:
    """Return each loose file that is not what was written, and how it differs; one that was deleted is no fault.

    Raises RunError where the list itself is damaged.
    """
    written = read_written(results)
    changes = []
    for name, entry in sorted(written.files.items() if written is not None else ()):
        path = results / name
        if not path.is_file():
            continue
        try:
            now = _entry(path, entry.bytes if path.name == GROWING else None)
        except OSError as error:
            changes.append((path, f"cannot be read: {error.strerror}"))
            continue
        if now.bytes != entry.bytes:
            changes.append((path, f"has {now.bytes} bytes; {entry.bytes} were written"))
        elif now.sha256 != entry.sha256:
            changes.append((path, f"its SHA-256 begins {now.sha256[:12]}; {entry.sha256[:12]} was written"))
    return changes


def _known(results: Path) -> Mapping[str, Entry]:
    """Return what is remembered and still there; a damaged list is begun anew, since ``verify`` reports it."""
    try:
        written = read_written(results)
    except RunError:
        return {}
    return {name: entry for name, entry in (written.files if written else {}).items() if (results / name).is_file()}


def _entry(path: Path, first: int | None) -> Entry:
    """Return size and hash of a file, or of its first bytes."""
    with path.open("rb") as file:
        content = file.read() if first is None else file.read(first)
    return Entry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


@contextmanager
def _locked(results: Path) -> Iterator[None]:
    """Keep other processes out: the lock is the folder's own, so that no file of it is left behind."""
    descriptor = os.open(results, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

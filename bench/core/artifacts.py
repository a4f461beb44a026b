"""Folders of the prepare stage: made where they are not there, or are not what was written."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.manifest import (
    MANIFEST,
    entry_of,
    files_of,
    is_complete,
    name_of,
    read_manifest,
    seal,
)
from bench.errors import RunError
from bench.utils.files import naming_disk_errors, sibling_of, sync

Note = Callable[[str], None]


def silent(text: str) -> None:
    """Drop a note."""


def make_sound(folder: Path, write: Callable[[Path], None], *, note: Note) -> None:
    """Write a folder where it is not there, or not what was written; ``note`` reports the second.

    Raises RunError (full disk, permission, …), and what ``write`` raises.
    """
    if is_complete(folder):
        problems = verify_folder(folder, stage="prepare")
        if not problems:
            return
        note(f"{problems[0]}: damaged, so {folder} is made again")
    write_whole(folder, write, stage="prepare")


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong on disk."""

    path: Path
    kind: Literal["missing", "changed", "extra", "unreadable"]
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


def write_whole(folder: Path, write: Callable[[Path], None], *, stage: str) -> None:
    """Fill ``folder`` whole or not at all: ``write`` gets a temporary sibling, which is sealed and renamed.

    A sound ``folder`` that is there already is kept (another process was first); an unfinished or damaged one is
    replaced.
    Raises RunError for a full disk, a missing permission and the like; what ``write`` raises passes through.
    """
    temporary = sibling_of(folder)
    with naming_disk_errors(folder, "write"):
        try:
            temporary.mkdir(parents=True)
            write(temporary)
            seal(temporary, stage=stage)
            _move_into_place(temporary, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def verify_folder(folder: Path, *, stage: str | None = None) -> list[Problem]:
    """Hash every file of a finished folder again; return what is missing, changed, extra or unreadable."""
    try:
        manifest = read_manifest(folder)
    except RunError as error:
        return [Problem(folder / MANIFEST, "unreadable", error.problem)]
    problems = []
    if stage is not None and manifest.stage != stage:
        detail = f"was written by the stage {manifest.stage!r}; here {stage!r} is right"
        problems.append(Problem(folder / MANIFEST, "changed", detail))
    with naming_disk_errors(folder, "read"):
        paths = {name_of(folder, path): path for path in files_of(folder)}
    for name, entry in sorted(manifest.files.items()):
        if name not in paths:
            problems.append(Problem(folder / name, "missing", "is missing"))
            continue
        try:
            now = entry_of(paths[name])
        except OSError as error:
            problems.append(Problem(paths[name], "unreadable", f"cannot be read: {error.strerror}"))
            continue
        if now.bytes != entry.bytes:
            detail = f"has {now.bytes} bytes; {entry.bytes} were written"
            problems.append(Problem(paths[name], "changed", detail))
        elif now.sha256 != entry.sha256:
            detail = f"its SHA-256 begins {now.sha256[:12]}; {entry.sha256[:12]} was written"
            problems.append(Problem(paths[name], "changed", detail))
    problems += [Problem(paths[n], "extra", "is not in the manifest") for n in sorted(set(paths) - set(manifest.files))]
    return problems


def finished(results: Path, place: str) -> list[Path]:
    """Return the finished folders at one of ``PLACES``, sorted; temporary siblings (leading dot) are left out."""
    with naming_disk_errors(results, "read"):
        folders = (path.parent for path in results.glob(f"{place}/{MANIFEST}"))
        return sorted(f for f in folders if not any(part.startswith(".") for part in f.relative_to(results).parts))


def _move_into_place(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``. A folder cannot be renamed onto a filled one, hence the step aside."""
    if is_complete(folder) and not verify_folder(folder):
        return
    aside = sibling_of(folder)
    if folder.exists():
        folder.replace(aside)
    try:
        temporary.replace(folder)
    except OSError:
        if not is_complete(folder):
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)

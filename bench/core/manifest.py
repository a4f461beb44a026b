"""The manifest: which files a finished folder has, with size and SHA-256. Its presence means complete."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import RunError
from bench.utils.files import naming_disk_errors, sync, write_text_whole

MANIFEST = "manifest.json"
BESIDES = ("evals", "lease")
"""Entries of a finished folder that its manifest does not speak for."""


class Entry(BaseModel):
    """One file of a finished folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """The files of a finished folder by relative path. Written last: its presence means complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    stage: str
    files: dict[str, Entry]

    def text(self) -> str:
        """Return the only text that stands for this manifest, so that any changed byte of it shows."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n"


def seal(folder: Path, *, stage: str) -> Manifest:
    """Declare ``folder`` finished: sync its files, write their manifest last. For a folder that was filled in place."""
    with naming_disk_errors(folder, "finish"):
        for path in files_of(folder):
            sync(path)
        for below in (path for path in folder.rglob("*") if path.is_dir()):
            sync(below)
        manifest = manifest_of(folder, stage=stage)
        write_text_whole(folder / MANIFEST, manifest.text())
    return manifest


def manifest_of(folder: Path, *, stage: str) -> Manifest:
    """Return the manifest of what lies in ``folder`` now, evaluations and leases left out. Raises RunError."""
    with naming_disk_errors(folder, "read"):
        return Manifest(stage=stage, files={name_of(folder, path): entry_of(path) for path in files_of(folder)})


def is_complete(folder: Path) -> bool:
    """Tell whether ``folder`` was finished. Says nothing about later damage: that is ``verify_folder``."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a finished folder. Raises RunError where it cannot be read or is not what was written."""
    path = folder / MANIFEST
    with naming_disk_errors(path, "read"):
        content = path.read_bytes()
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise RunError(f"{path} is damaged: {first_fault(error)}", fix=f"delete {folder} and run again") from error
    stray = [name for name in manifest.files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if stray or manifest.text().encode() != content:
        what = f"it names {stray[0]!r}, which lies outside" if stray else "it is not the text that was written"
        raise RunError(f"{path} is damaged: {what}", fix=f"delete {folder} and run again")
    return manifest


def files_of(folder: Path) -> list[Path]:
    """Return the files that a manifest of ``folder`` speaks for, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    kept = (path for path in paths if path.relative_to(folder).parts[0] not in (*BESIDES, MANIFEST))
    return sorted(path for path in kept if not path.name.startswith("."))


def name_of(folder: Path, path: Path) -> str:
    """Return the name under which ``path`` stands in the manifest of ``folder``."""
    return path.relative_to(folder).as_posix()


def entry_of(path: Path) -> Entry:
    """Return size and hash of a file as they are now. Raises OSError."""
    with path.open("rb") as file:
        return Entry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def first_fault(error: ValidationError) -> str:
    """Return «field: what is wrong with it» of the first fault."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]

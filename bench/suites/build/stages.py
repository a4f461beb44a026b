"""Stages of a build: each writes its folder whole or not at all, and is skipped when complete."""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict, TypeGuard

from bench.core.manifest import entry_of

MANIFEST = "manifest.json"
PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn", "scipy", "numpy", "safetensors")


class FileEntry(TypedDict):
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


class StageManifest(TypedDict):
    """Contents of a stage's ``manifest.json``."""

    inputs: Mapping[str, object]
    facts: Mapping[str, object]
    made_with: Mapping[str, str]
    files: Mapping[str, FileEntry]


def run_stage(
    folder: Path, *, inputs: Mapping[str, object], write: Callable[[Path], Mapping[str, object]]
) -> tuple[StageManifest, bool]:
    """Return the manifest of ``folder`` and whether it was written now; an intact one with the same inputs stays.

    ``write`` fills an empty folder beside the final one and returns the facts to keep. The manifest holds ``inputs``,
    ``facts``, ``made_with`` (versions) and ``files`` (bytes and SHA-256 of each); the folder takes its name only once
    all of it is on disk.
    """
    wanted = json.loads(json.dumps(inputs))
    present = read_manifest(folder)
    if present is not None and present["inputs"] == wanted and not damaged_files(folder, present["files"]):
        return present, False
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        facts = write(fresh)
        manifest: StageManifest = {
            "inputs": wanted,
            "facts": dict(facts),
            "made_with": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "files": file_table(fresh),
        }
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _readable(fresh)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(fresh, folder)  # noqa: PTH105
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8")), True


def read_manifest(folder: Path) -> StageManifest | None:
    """Read the manifest of a stage's folder; None when there is none or it is not whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if _is_manifest(manifest) else None


def _is_manifest(value: object) -> TypeGuard[StageManifest]:
    return isinstance(value, dict) and StageManifest.__required_keys__ <= value.keys()


def file_table(folder: Path) -> dict[str, FileEntry]:
    """Return bytes and SHA-256 of every file below ``folder`` but manifests, by its relative path, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): {"bytes": entry.bytes, "sha256": entry.sha256}
        for path, entry in zip(paths, map(entry_of, paths), strict=True)
    }


def damaged_files(folder: Path, table: Mapping[str, FileEntry]) -> list[str]:
    """Return one line for each file of ``table`` that is absent from ``folder`` or has another content."""
    faults = []
    for name, entry in table.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: absent")
        elif (digest := entry_of(path).sha256) != entry["sha256"]:
            faults.append(f"{name}: SHA-256 is {digest[:16]}…, recorded is {entry['sha256'][:16]}…")
    return faults


def _readable(folder: Path) -> None:
    """Let other users read the assets: temporary folders, and weights saved by transformers, are closed to them."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)

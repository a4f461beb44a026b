"""Owns the results folder: folders written whole, their check, and the records read back."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench.errors import RunError
from bench.report.bundle import BUNDLE, read_bundle
from bench.report.manifest import (
    MANIFEST,
    Manifest,
    entry_of,
    files_of,
    first_fault,
    is_complete,
    manifest_of,
    name_of,
    read_manifest,
    seal,
)
from bench.report.record import RECORD_VERSION, RunRecord
from bench.report.whole import sibling_of, sync, told, write_bytes_whole, write_text_whole
from bench.report.written import WRITTEN, changed

__all__ = [
    "Manifest",
    "Problem",
    "finished",
    "is_complete",
    "load_records",
    "manifest_of",
    "read_manifest",
    "read_record",
    "read_records",
    "record_order",
    "seal",
    "verify_folder",
    "verify_results",
    "write_bytes_whole",
    "write_text_whole",
    "write_whole",
]

RECORD = "record.json"
PLACES = (
    ("data/*", "prepare"),
    ("models/*", "prepare"),
    ("reference/*", "reference"),
    ("runs/*", "train"),
    ("runs/*/evals/*", "evaluate"),
    ("inspect/*", "inspect"),
    ("work/*/state-*", "state"),
)
"""Where finished folders lie under the results folder, and the stage that writes each."""
ITERATED = tuple((f"iterations/*/round-*/{part}", "iterate") for part in ("samples", "labels", "pairs")) + tuple(
    (f"iterations/{loop}/{place}", stage) for loop in ("start", "*/round-*") for place, stage in PLACES
)
"""The same of iterated runs: what each round leaves, and the first start model's evaluations."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong on disk."""

    path: Path
    kind: Literal["missing", "changed", "extra", "unreadable"]
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


def write_whole(folder: Path, write: Callable[[Path], None], *, stage: str) -> None:
    """Fill ``folder`` whole or not at all: ``write`` is given a temporary sibling, which is sealed and renamed.

    A sound ``folder`` that is there already is kept (another process was first); an unfinished or damaged one is
    replaced.
    Raises RunError for a full disk, a missing permission and the like; what ``write`` raises passes through.
    """
    temporary = sibling_of(folder)
    with told(folder, "write"):
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
    with told(folder, "read"):
        found = {name_of(folder, path): path for path in files_of(folder)}
    for name, entry in sorted(manifest.files.items()):
        if name not in found:
            problems.append(Problem(folder / name, "missing", "is missing"))
            continue
        try:
            now = entry_of(found[name])
        except OSError as error:
            problems.append(Problem(found[name], "unreadable", f"cannot be read: {error.strerror}"))
            continue
        if now.bytes != entry.bytes:
            detail = f"has {now.bytes} bytes; {entry.bytes} were written"
            problems.append(Problem(found[name], "changed", detail))
        elif now.sha256 != entry.sha256:
            detail = f"its SHA-256 begins {now.sha256[:12]}; {entry.sha256[:12]} was written"
            problems.append(Problem(found[name], "changed", detail))
    problems += [Problem(found[n], "extra", "is not in the manifest") for n in sorted(set(found) - set(manifest.files))]
    return problems


def verify_results(results: Path) -> list[Problem]:
    """Check every finished folder under ``results``, the bundle and the loose files. Sorted by path.

    Unfinished folders are no problem, nor are folders that a run removes meanwhile, as it does with its states.
    """
    problems = []
    for place, stage in (*PLACES, *ITERATED):
        for folder in finished(results, place):
            found = verify_folder(folder, stage=stage)
            problems += found if folder.is_dir() else []
    try:
        read_bundle(results)
    except RunError as error:
        problems.append(Problem(results / BUNDLE, "unreadable", error.problem))
    try:
        problems += [Problem(path, "changed", detail) for path, detail in changed(results)]
    except RunError as error:
        problems.append(Problem(results / WRITTEN, "unreadable", error.problem))
    return sorted(problems)


def finished(results: Path, place: str) -> list[Path]:
    """Return the finished folders at one of ``PLACES``, sorted; temporary siblings (leading dot) are left out."""
    with told(results, "read"):
        folders = (path.parent for path in results.glob(f"{place}/{MANIFEST}"))
        return sorted(f for f in folders if not any(part.startswith(".") for part in f.relative_to(results).parts))


def read_records(results: Path) -> tuple[list[RunRecord], list[Problem]]:
    """Return the sound records under ``results`` in a fixed order, and what is wrong with the others.

    Records are those of its runs, and of the bundle where one lies there.
    """
    records, problems = read_bundle(results), []
    for folder in finished(results, "runs/*/evals/*"):
        if not is_complete(folder.parent.parent):
            continue
        try:
            records.append(read_record(folder))
        except RunError as error:
            problems.append(Problem(folder / RECORD, "unreadable", error.problem))
    return sorted(records, key=record_order), problems


def load_records(results: Path) -> list[RunRecord]:
    """Return every record under ``results`` in a fixed order. Raises RunError if one of them is damaged."""
    records, problems = read_records(results)
    if problems:
        listed = "\n".join(f"  {problem.detail}" for problem in problems)
        fix = f"delete {problems[0].path.parent} (it is evaluated again); `bench verify` checks every file"
        raise RunError(f"{len(problems)} of {len(records) + len(problems)} records cannot be used:\n{listed}", fix=fix)
    return records


def record_order(record: RunRecord) -> tuple[str, ...]:
    """Return the sort key of records: equal sets of records sort equally, whatever their order was."""
    return (record.protocol, record.spec.suite, record.spec.objective, record.key, record.evaluation_key)


def read_record(folder: Path) -> RunRecord:
    """Return the record of a finished evaluation. Raises RunError where it is not what was written there."""
    path = folder / RECORD
    fix = f"delete {folder} and run the same command again: the checkpoint is evaluated again, not trained again"
    entry = read_manifest(folder).files.get(RECORD)
    with told(path, "read"):
        content = path.read_bytes()
    if entry is None or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise RunError(f"{path} is damaged: it is not what was written", fix=fix)
    try:
        record = RunRecord.model_validate_json(content)
    except ValidationError as error:
        raise RunError(f"{path} is no record of version {RECORD_VERSION}: {first_fault(error)}", fix=fix) from error
    if record.record_version != RECORD_VERSION:
        problem = f"{path} has record version {record.record_version}; this program reads {RECORD_VERSION}"
        raise RunError(problem, fix=fix)
    names = (folder.parent.parent.name, folder.name)
    if (record.key, record.evaluation_key) != names:
        problem = f"{path} names itself {record.key}/{record.evaluation_key}, but lies under {'/'.join(names)}"
        raise RunError(problem, fix=fix)
    return record


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

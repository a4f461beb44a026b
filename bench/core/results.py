"""The results folder: folders written whole, their check, and the records read back."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from bench.core.artifacts import Problem, finished, verify_folder, write_whole
from bench.core.manifest import (
    Manifest,
    first_fault,
    is_complete,
    manifest_of,
    read_manifest,
    seal,
)
from bench.core.outputs import WRITTEN, changed
from bench.core.record import RECORD_VERSION, RunRecord
from bench.core.record_bundle import BUNDLE, read_bundle
from bench.errors import RunError
from bench.utils.files import naming_disk_errors, write_bytes_whole, write_text_whole

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


def verify_results(results: Path) -> list[Problem]:
    """Check every finished folder under ``results``, the bundle and the loose files. Sorted by path.

    Unfinished folders are no problem, nor are folders that a run removes meanwhile, as it does with its states.
    """
    problems = []
    for place, stage in (*PLACES, *ITERATED):
        for folder in finished(results, place):
            damage = verify_folder(folder, stage=stage)
            problems += damage if folder.is_dir() else []
    try:
        read_bundle(results)
    except RunError as error:
        problems.append(Problem(results / BUNDLE, "unreadable", error.problem))
    try:
        problems += [Problem(path, "changed", detail) for path, detail in changed(results)]
    except RunError as error:
        problems.append(Problem(results / WRITTEN, "unreadable", error.problem))
    return sorted(problems)


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
    with naming_disk_errors(path, "read"):
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

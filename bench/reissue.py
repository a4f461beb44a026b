"""Owns a record that another protocol made: what it measured is taken over, and nothing is measured twice."""

import shutil
from pathlib import Path

from bench.evaluate.retarget import as_measured
from bench.measure import SAMPLES
from bench.report.record import RunRecord
from bench.report.store import is_complete, read_record, verify_folder, write_whole
from bench.spec import EvaluationSpec
from sweeps.study import TuningProtocol


def reissue(place: Path, evaluation: EvaluationSpec, tuning: TuningProtocol) -> bool:
    """Write the record of the same evaluation, made under another protocol, as this protocol's; False: there is none.

    A checkpoint's numbers do not depend on how its objective was tuned, nor on which of them chose, so nothing is
    measured twice.
    """
    for other in sorted(place.parent.glob("[!.]*")):
        if not is_complete(other) or verify_folder(other):
            continue
        known = as_measured(read_record(other), evaluation)
        if known is None:
            continue
        update = {"evaluation_key": place.name, "protocol": tuning.hash, "tuning": tuning.model_dump(mode="json")}
        record = known.model_copy(update=update)

        def write(partial: Path, other: Path = other, record: RunRecord = record) -> None:
            (partial / "record.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            shutil.copyfile(other / SAMPLES, partial / SAMPLES)

        write_whole(place, write, stage="evaluate")
        return True
    return False

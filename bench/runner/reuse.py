"""A record that another protocol made: what it measured is taken over, and nothing is measured twice."""

import shutil
from pathlib import Path

import numpy as np

from bench.core.artifacts import verify_folder, write_whole
from bench.core.manifest import is_complete
from bench.core.record import RunRecord
from bench.core.results import read_record
from bench.core.specs import EvaluationSpec, without_sources
from bench.evaluate.metrics.aggregate import mean_metrics
from bench.evaluate.metrics.generation import TASK
from bench.evaluate.tasks.scored_documents import FOLDER
from bench.runner.measure import SAMPLES
from sweeps.protocol import TuningProtocol


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
            if (other / FOLDER).is_dir():
                shutil.copytree(other / FOLDER, partial / FOLDER)

        write_whole(place, write, stage="evaluate")
        return True
    return False


def as_measured(record: RunRecord, evaluation: EvaluationSpec) -> RunRecord | None:
    """Return the record as that of ``evaluation``; None where it would have to be measured.

    From a win rate to the reward the target follows from each prompt's reward and KL. The other way it does not: a
    record has no lengths of the start model's answers.
    """
    if record.evaluation == evaluation:
        return record
    alike = record.evaluation.model_copy(update={"target": evaluation.target})
    if _identity(alike) != _identity(evaluation) or evaluation.target != "reward":
        return None
    if record.status != "completed":
        return record.model_copy(update={"evaluation": evaluation})
    if "gold_reward" not in record.scores:
        return None
    scores = {name: np.array(record.scores[name]) for name in ("gold_reward", "kl")}
    target = scores["gold_reward"] - evaluation.beta0 * scores["kl"]
    (metric,) = mean_metrics({"target": (target, True)}, task=TASK, split=evaluation.split)
    metrics = tuple(metric if each.name == "target" and each.task == TASK else each for each in record.metrics)
    return record.model_copy(
        update={
            "evaluation": evaluation,
            "metrics": metrics,
            "scores": {**record.scores, "target": target.tolist()},
        }
    )


def _identity(evaluation: EvaluationSpec) -> object:
    return without_sources(evaluation.model_dump(mode="json"))

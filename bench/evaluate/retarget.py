"""Owns telling whether a record holds all that another evaluation asks, when they differ in what chooses alone."""

import numpy as np

from bench.evaluate.generation import TASK
from bench.evaluate.metric import mean_metrics
from bench.report.record import RunRecord
from bench.spec import EvaluationSpec, without_sources


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

"""The evaluation stage: a checkpoint of a run measured by its suite."""

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.artifacts import Note
from bench.core.record import START, Metric, RunRecord
from bench.core.samples import read_samples
from bench.core.specs import EvaluationSpec, RunSpec
from bench.evaluate.checkpoint import EvaluationResult, Yardstick
from bench.evaluate.progress import Report, silent
from bench.runner.reference import open_rows
from bench.runner.training_result import TrainingResult
from bench.runner.workspace import Workspace
from bench.suites.protocol import TrainedBy
from bench.train.objective_batch import rows_of
from losses import get

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLES = "samples.jsonl.gz"


def measure(
    model: "PreTrainedModel",
    workspace: Workspace,
    *,
    spec: RunSpec,
    evaluation: EvaluationSpec,
    baseline: RunRecord | None,
    note: Note,
    progress: Report = silent,
) -> EvaluationResult:
    """Return every metric that ``evaluation`` names for a checkpoint of ``spec``, or for the start model.

    Args:
        baseline: the start model's record on the same split; judges compare with its samples.
        progress: gets each part of the evaluation as it goes on.
    """
    yardstick = replace(_yardstick(workspace, evaluation, baseline, note), progress=progress)
    return workspace.evaluator.measure(model, yardstick, spec=evaluation, trained_by=trained_by(spec))


def trained_by(spec: RunSpec) -> TrainedBy:
    """Return what an evaluation needs to know about the objective of a run."""
    if spec.objective == START:
        return TrainedBy(objective=None, params=spec.params, reward="log_ratio", frozen_reference=True)
    objective = get(spec.objective)
    return TrainedBy(
        objective=spec.objective,
        params=spec.params,
        reward=objective.reward,
        frozen_reference=objective.bind(spec.params).schedule.is_frozen,
    )


def training_metrics(spec: RunSpec, evaluation: EvaluationSpec, trained: TrainingResult) -> tuple[Metric, ...]:
    """Return the metrics of training itself: the share of clipped steps, and the last loss."""
    steps, losses = trained["steps"], trained["curves"].get("loss") or []
    if steps == 0:
        return ()
    share = trained["clipped_steps"] / steps
    metrics = [Metric(task="train", split=evaluation.split, name="clipped_share", value=share, n=steps)]
    if losses and losses[-1] is not None:
        metrics.append(
            Metric(task="train", split=evaluation.split, name="final_loss", value=losses[-1], n=spec.train.batch)
        )
    return tuple(metrics)


def _yardstick(workspace: Workspace, evaluation: EvaluationSpec, baseline: RunRecord | None, note: Note) -> Yardstick:
    held_out = workspace.held_out.get(evaluation.split)
    reference = None
    if held_out is not None:
        held_out = replace(held_out, rows=held_out.rows[: evaluation.pairs])
        what = f"{evaluation.split} pairs"
        entry = open_rows(workspace, rows_of(held_out.rows), precision="fp32", what=what, note=note)
        reference = workspace.references((entry,))
    outputs = None
    if baseline is not None:
        start = workspace.results / "runs" / baseline.key / "evals" / baseline.evaluation_key
        outputs = read_samples(start / SAMPLES)
    return Yardstick(
        start=workspace.start_model.to(workspace.device),
        tokenizer=workspace.tokenizer,
        gold=workspace.gold,
        prompts=workspace.prompts[evaluation.split],
        held_out=held_out,
        reference=reference,
        baseline=outputs,
        tasks=workspace.tasks if workspace.evaluator.runs_tasks(evaluation.split) else None,
        packed=workspace.execution.layout == "packed",
        judge_inputs=None if workspace.judge_inputs is None else workspace.judge_inputs[evaluation.split],
    )

"""Owns the evaluation stage: a checkpoint measured by its suite, by sampling or by enumerating every completion."""

from dataclasses import replace
from typing import Any

from bench.core.record import START, Metric, RunRecord
from bench.core.samples import read_samples
from bench.core.specs import EvaluationSpec, RunSpec
from bench.evaluate.checkpoint import Evaluated, Yardstick, evaluate_checkpoint, preference
from bench.evaluate.metrics.metric import mean_metrics
from bench.evaluate.tasks.ready import ReadyTasks
from bench.runner.reference import Note, open_rows
from bench.runner.workspace import SPLITS, Workspace
from bench.suites.exact.evaluate import TASK, evaluate_exact, policy_logps
from bench.suites.exact.measures import frontier_curve, kl
from bench.suites.exact.problem import Problem
from bench.suites.exact.problem import preference as preference_table
from bench.suites.exact.theory.optima import own_optimum
from bench.suites.exact.theory.population import Population
from bench.train.objective_batch import rows_of
from losses import get

SAMPLES = "samples.jsonl.gz"
FRONTIER_POINTS = 101


def measure(
    model: Any,
    workspace: Workspace,
    *,
    spec: RunSpec,
    evaluation: EvaluationSpec,
    baseline: RunRecord | None,
    note: Note,
) -> Evaluated:
    """Measure a checkpoint of ``spec`` (the start model, where its objective is that) as ``evaluation`` says.

    Args:
        baseline: the start model's record on the same split, where its samples are what a judge compares with.
    """
    yardstick = _yardstick(workspace, evaluation, baseline, note)
    found = evaluated(model, workspace, spec, evaluation, yardstick)
    if workspace.problem is None:
        return found
    metrics = [*found.metrics, *_distance_to_own(model, workspace.problem, spec=spec, split=evaluation.split)]
    if yardstick.held_out is not None:
        metrics += preference(model, yardstick, spec=evaluation, reward=_reward(spec))
    return replace(found, metrics=tuple(metrics))


def evaluated(
    model: Any, workspace: Workspace, spec: RunSpec, evaluation: EvaluationSpec, yardstick: Yardstick
) -> Evaluated:
    """What ``evaluation`` says of a model of ``spec``: exactly where the suite is a problem, else by its samples."""
    if workspace.problem is None:
        return evaluate_checkpoint(model, yardstick, spec=evaluation, reward=_reward(spec))
    return evaluate_exact(
        model,
        workspace.problem,
        tokenizer=workspace.tokenizer,
        spec=evaluation,
        reward=_reward(spec),
        params=spec.params,
    )


def _reward(spec: RunSpec) -> Any:
    return "log_ratio" if spec.objective == START else get(spec.objective).reward


def _distance_to_own(model: Any, problem: Problem, *, spec: RunSpec, split: str) -> tuple[Metric, ...]:
    """KL(π‖own optimum), nats, where the data are the population and theory knows what the loss does with it."""
    if problem.spec.labels != "population" or spec.objective == START:
        return ()
    if not get(spec.objective).bind(spec.params).schedule.is_frozen:
        return ()  # between two moves of the reference training sees a part of the population only
    contexts = list(problem.contexts(split))
    population = Population(
        log_ref=problem.log_ref[contexts],
        preference=preference_table(problem)[contexts],
        lengths=problem.lengths,
        reward=problem.reward[contexts],
        vocabulary=problem.vocabulary,
    )
    own = own_optimum(spec.objective, spec.params, population)
    if own is None:
        return ()
    distance = kl(policy_logps(model, problem, contexts=contexts), own)
    return mean_metrics({"kl_to_own_optimum": (distance, False)}, task=TASK, split=split)


def frontiers(workspace: Workspace) -> dict[str, dict[str, list[float]]]:
    """The optimal reward at each KL, for each split: what no policy can beat. KL in nats."""
    problem = workspace.problem
    assert problem is not None
    found = {}
    for split in SPLITS:
        contexts = list(problem.contexts(split))
        curve = frontier_curve(problem.log_ref[contexts], problem.reward[contexts], points=FRONTIER_POINTS)
        found[split] = {"kl": curve.kl.tolist(), "reward": curve.reward.tolist()}
    return found


def training_metrics(spec: RunSpec, evaluation: EvaluationSpec, trained: dict[str, Any]) -> tuple[Metric, ...]:
    """What training itself tells: the share of clipped steps, and the last loss."""
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


def _tasks(workspace: Workspace, evaluation: EvaluationSpec) -> ReadyTasks | None:
    """The tasks of lm-eval. They choose nothing, so that where judges are asked only test prompts come with them."""
    if workspace.problem is not None or (workspace.judge_inputs is not None and evaluation.split == "validation"):
        return None
    return workspace.tasks


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
        tasks=_tasks(workspace, evaluation),
        packed=workspace.execution.layout == "packed",
        judge_inputs=None if workspace.judge_inputs is None else workspace.judge_inputs[evaluation.split],
    )

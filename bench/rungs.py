"""Owns what a trial is scored by before its end: the target itself, on a part of the validation prompts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.evaluate.checkpoint import Yardstick, evaluate_checkpoint
from bench.evaluate.isolation import same_generators
from bench.exact.evaluate import evaluate_exact
from bench.report.record import START
from bench.spec import EvaluationSpec, RunSpec
from bench.workspace import Workspace
from losses import get

SHARE = 4
"""One prompt in so many is asked at a rung."""
LEAST = 16
"""Prompts that are asked at least, where there are as many."""

Prune = Callable[[int, float], bool]
"""Told a step and the score there; says whether the run ends."""


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """Where a run is scored, by what, and who decides. ``scores`` fills as the run goes on."""

    steps: tuple[int, ...]
    score: Callable[[Any], float]
    prune: Prune
    scores: dict[int, float] = field(default_factory=dict)

    def ends(self, step: int, model: Any) -> bool:
        """Score ``model`` where ``step`` is a rung; say whether the run ends there."""
        if step not in self.steps:
            return False
        self.scores[step] = self.score(model)
        return self.prune(step, self.scores[step])


def rung_score(model: Any, workspace: Workspace, spec: RunSpec) -> float:
    """The target J of a model in training, on the first quarter of the validation prompts (16 at least).

    The target itself rather than held-out reward accuracy or margin, which are cheaper and known not to track it: the
    objective with the largest margins may be the one that ran away. The noise is that of every other evaluation, so
    scores of different trials are paired.
    """
    every = workspace.prompts["validation"]
    prompts = every[: max(LEAST, len(every) // SHARE)]
    evaluation = workspace.evaluation.model_copy(
        update={"split": "validation", "prompts": len(prompts), "lm_eval": (), "judge": False}
    )
    with same_generators():
        metrics = _measured(model, workspace, spec, evaluation, prompts)
    return next(metric.value for metric in metrics if metric.name == "target")


def _measured(model: Any, workspace: Workspace, spec: RunSpec, evaluation: EvaluationSpec, prompts: Any) -> Any:
    reward = "log_ratio" if spec.objective == START else get(spec.objective).reward
    if workspace.problem is not None:
        return evaluate_exact(
            model,
            workspace.problem,
            tokenizer=workspace.tokenizer,
            spec=evaluation,
            reward=reward,
            params=spec.params,
        ).metrics
    yardstick = Yardstick(
        start=workspace.start_model.to(workspace.device),
        tokenizer=workspace.tokenizer,
        gold=workspace.gold,
        prompts=prompts,
        held_out=None,
        reference=None,
        baseline=None,
        tasks=None,
        packed=False,
    )
    return evaluate_checkpoint(model, yardstick, spec=evaluation, reward=reward).metrics

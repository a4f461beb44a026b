"""Intermediate score of a trial for pruning: the target, on a part of the validation prompts."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from bench.core.specs import RunSpec
from bench.evaluate.checkpoint import JudgeInputs, Yardstick, sample_rows
from bench.runner.measure import trained_by
from bench.runner.workspace import Workspace
from bench.utils.isolation import same_generators

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARE = 4
"""A rung uses one validation prompt out of this many."""

LEAST = 16
"""Fewest prompts of a rung, where there are as many."""


def rung_scorer(workspace: Workspace, spec: RunSpec) -> Callable[["PreTrainedModel"], float]:
    """Return a function that scores a model in training: its target on a quarter of the validation prompts (or 16).

    The target itself rather than held-out reward accuracy or margin, which are cheaper and known not to track it: the
    objective with the largest margins may be the one that ran away. The noise is that of every other evaluation, so
    scores of different trials are paired. Where the target is a win rate, the start model answers the same prompts
    once, at the first rung.
    """
    validation = workspace.prompts["validation"]
    prompts = validation[: max(LEAST, len(validation) // SHARE)]
    evaluation = workspace.evaluation.model_copy(
        update={"split": "validation", "prompts": len(prompts), "lm_eval": (), "judge": False}
    )

    @cache
    def yardstick() -> Yardstick:
        first = Yardstick(
            start=workspace.start_model.to(workspace.device),
            tokenizer=workspace.tokenizer,
            gold=workspace.gold,
            prompts=prompts,
            held_out=None,
            reference=None,
            baseline=None,
            tasks=None,
            packed=False,
            judge_inputs=None
            if workspace.judge_inputs is None
            else _fewer(workspace.judge_inputs["validation"], len(prompts)),
        )
        if evaluation.target != "win_rate":
            return first
        return replace(first, baseline=tuple(sample_rows(first.start, first, spec=evaluation)))

    def score(model: "PreTrainedModel") -> float:
        with same_generators():
            evaluated = workspace.evaluator.score(model, yardstick(), spec=evaluation, trained_by=trained_by(spec))
        return next(metric.value for metric in evaluated.metrics if metric.name == "target")

    return score


def _fewer(inputs: JudgeInputs, prompts: int) -> JudgeInputs:
    """Return the first prompts without held-out pairs: the accuracy of a judge does not change in training."""
    return replace(inputs, instructions=inputs.instructions[:prompts], held_out=())

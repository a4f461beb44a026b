"""Owns what a trial is scored by before its end: the target itself, on a part of the validation prompts."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from bench.core.specs import RunSpec
from bench.evaluate.checkpoint import JudgeInputs, Yardstick, sample_rows
from bench.runner.measure import evaluated
from bench.runner.workspace import Workspace
from bench.utils.isolation import same_generators

SHARE = 4
"""One prompt in so many is asked at a rung."""

LEAST = 16
"""Prompts that are asked at least, where there are as many."""


def rung_scorer(workspace: Workspace, spec: RunSpec) -> Callable[[Any], float]:
    """Return what scores a model in training: the target, on the first quarter of the validation prompts (16 at least).

    The target itself rather than held-out reward accuracy or margin, which are cheaper and known not to track it: the
    objective with the largest margins may be the one that ran away. The noise is that of every other evaluation, so
    scores of different trials are paired. Where the target is a win rate, the start model answers the same prompts
    once, at the first rung.
    """
    every = workspace.prompts["validation"]
    prompts = every[: max(LEAST, len(every) // SHARE)]
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

    def score(model: Any) -> float:
        with same_generators():
            metrics = evaluated(model, workspace, spec, evaluation, yardstick()).metrics
        return next(metric.value for metric in metrics if metric.name == "target")

    return score


def _fewer(asked: JudgeInputs, prompts: int) -> JudgeInputs:
    """The first prompts alone, and no held-out pairs: what a judge is worth does not change in training."""
    return replace(asked, instructions=asked.instructions[:prompts], held_out=())

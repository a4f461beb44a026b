"""Evaluation by sampling: completions scored by the suite's gold reward, or compared by judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.specs import EvaluationSpec
from bench.evaluate.checkpoint import EvaluationResult, JudgeInputs, Yardstick, evaluate_checkpoint
from bench.evaluate.gold_reward import Gold, load_gold
from bench.suites.protocol import TrainedBy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class SamplingEvaluator:
    """Evaluator that samples completions. Exactly one of ``gold_folder`` and ``judge_inputs`` is set."""

    gold_folder: Path | None = None
    judge_inputs: Mapping[str, JudgeInputs] | None = None
    samples = True

    @cached_property
    def gold(self) -> Gold | None:
        """The gold reward, loaded once."""
        return None if self.gold_folder is None else load_gold(self.gold_folder)

    def runs_tasks(self, split: str) -> bool:
        """Return whether lm-eval runs with this split. It chooses nothing, so with judges only test prompts have it."""
        return self.judge_inputs is None or split != "validation"

    def score(
        self, model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, trained_by: TrainedBy
    ) -> EvaluationResult:
        """Return everything that ``spec`` and ``yardstick`` ask for."""
        return evaluate_checkpoint(model, yardstick, spec=spec, reward=trained_by.reward)

    measure = score

    def frontiers(self) -> None:
        """Return None: the best reward at a KL is unknown."""

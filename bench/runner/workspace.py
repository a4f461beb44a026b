"""Owns what runs of one command share: suite, start model, data, prompts, and what is loaded of them once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from bench.core.specs import DataSpec, EvaluationSpec, Execution, ModelSpec, TrainSpec
from bench.data.tokens import Encoded
from bench.evaluate.checkpoint import JudgeInputs
from bench.evaluate.gold_reward import Gold, load_gold
from bench.evaluate.tasks.preflight import reader_of
from bench.evaluate.tasks.ready import ReadyTasks, Seeds, ready_tasks
from bench.models.loading import load_model
from bench.suites.exact.problem import Problem
from bench.suites.suite import Suite

SPLITS = ("validation", "test")
KEPT_REFERENCES = 4
"""Sets of reference log-probs in memory: training data, both held-out splits, and a KL baseline."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """All that runs of one command share. ``held_out`` has pairs for each split, none where the data is unpaired.

    ``problem`` is the enumerable problem that model and data come from, None where they are files. ``judge_inputs`` has
    the judges of each split and what they see, None where the suite has a gold reward of its own. ``words`` are what
    a judge is shown of a prompt, by its token ids, where that is not the prompt's own text.
    """

    suite: Suite
    results: Path
    model: Path
    model_spec: ModelSpec
    tokenizer: Any
    data: Encoded
    data_spec: DataSpec
    data_folder: Path
    held_out: Mapping[str, Encoded]
    prompts: Mapping[str, tuple[tuple[int, ...], ...]]
    train: TrainSpec
    evaluation: EvaluationSpec
    execution: Execution
    problem: Problem | None = None
    judge_inputs: Mapping[str, JudgeInputs] | None = None
    words: Mapping[tuple[int, ...], str] = field(default_factory=dict)

    @cached_property
    def gold(self) -> Gold | None:
        """The suite's gold reward, None where it has none: its reward is enumerated, or judges are asked."""
        return (
            None if self.problem is not None or self.judge_inputs is not None else load_gold(self.suite.folder / "gold")
        )

    @cached_property
    def tasks(self) -> ReadyTasks | None:
        """The evaluation's tasks of lm-eval, made ready once for all checkpoints; None: there are none."""
        evaluation = self.evaluation
        if not evaluation.lm_eval:
            return None
        return ready_tasks(
            evaluation.lm_eval,
            include=self.suite.folder,
            num_fewshot=evaluation.lm_eval_fewshot,
            limit=evaluation.lm_eval_limit,
            seeds=Seeds.all(evaluation.seed),
            reader=reader_of(self.model),
        )

    @cached_property
    def device(self) -> Any:
        """Where models are scored: what ``execution.device`` says, else the first GPU, else the CPU."""
        import torch

        return torch.device(self.execution.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @cached_property
    def start_model(self) -> Any:
        """The start model, loaded once."""
        return load_model(self.model)

    @cached_property
    def references(self) -> Callable[[tuple[Path, ...]], Any]:
        """Reads reference log-probs; the entries that were read last stay in memory, shared by every run on them."""
        from bench.models.reference_cache import read_references

        return lru_cache(maxsize=KEPT_REFERENCES)(read_references)

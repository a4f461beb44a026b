"""Resources shared by all runs of one command: suite, start model, data, prompts, and the objects loaded once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.specs import DataSpec, EvaluationSpec, Execution, ModelSpec, TrainSpec
from bench.data.tokens import Encoded
from bench.evaluate.checkpoint import JudgeInputs
from bench.evaluate.gold_reward import Gold
from bench.evaluate.tasks.load import ReadyTasks, Seeds, ready_tasks
from bench.evaluate.tasks.preflight import reader_of
from bench.evaluate.tasks.prompts import prompting_of
from bench.models.loading import load_model
from bench.suites.protocol import Evaluator
from bench.suites.settings import Suite

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.models.reference_cache import ReferenceLogProbs
    from bench.train.training_reference import TrainingReference

KEPT_REFERENCES = 4
"""Sets of reference log-probs in memory: of held-out pairs both splits; of trainings those of the last seeds."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Resources of one command. ``held_out`` has pairs for each split, and is empty where the data is unpaired.

    ``evaluator`` measures checkpoints as the suite does. ``prompt_texts``: texts of prompts by token ids, where judges
    see another text than the decoded prompt.
    """

    suite: Suite
    results: Path
    model: Path
    model_spec: ModelSpec
    tokenizer: "PreTrainedTokenizerBase"
    data: Encoded
    data_spec: DataSpec
    data_folder: Path
    held_out: Mapping[str, Encoded]
    prompts: Mapping[str, tuple[tuple[int, ...], ...]]
    train: TrainSpec
    evaluation: EvaluationSpec
    execution: Execution
    evaluator: Evaluator
    prompt_texts: Mapping[tuple[int, ...], str] = field(default_factory=dict)

    @property
    def gold(self) -> Gold | None:
        """The suite's gold reward, None where its reward is enumerated or judges compare."""
        return self.evaluator.gold

    @property
    def judge_inputs(self) -> Mapping[str, JudgeInputs] | None:
        """Judges and their inputs by split, None where the suite has a reward of its own."""
        return self.evaluator.judge_inputs

    @cached_property
    def tasks(self) -> ReadyTasks | None:
        """The evaluation's tasks of lm-eval, loaded once for all checkpoints; None where there are none."""
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
            prompting=prompting_of(evaluation),
            tokenizer=self.tokenizer,
        )

    @cached_property
    def device(self) -> "torch.device":
        """The device that scores models: ``execution.device``, else the first GPU, else the CPU."""
        import torch

        return torch.device(self.execution.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @cached_property
    def start_model(self) -> "PreTrainedModel":
        """The start model, loaded once."""
        return load_model(self.model)

    @cached_property
    def references(self) -> Callable[[tuple[Path, ...]], "ReferenceLogProbs"]:
        """A reader of held-out pairs' reference log-probs; the entries read last stay in memory, shared by all runs."""
        from bench.models.reference_cache import read_references

        return lru_cache(maxsize=KEPT_REFERENCES)(read_references)

    @cached_property
    def training_references(self) -> Callable[[tuple[Path, ...]], "TrainingReference | None"]:
        """A reader of what trainings read of the reference; the sets of parts read last stay in memory."""
        from bench.train.training_reference import read_training_reference

        return lru_cache(maxsize=KEPT_REFERENCES)(read_training_reference)

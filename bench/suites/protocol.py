"""The suite protocol: what the module ``suite.py`` in a suite's folder provides, and the data types it exchanges.

A suite is one folder of ``bench/suites``: ``suite.toml`` with its settings, ``suite.py`` with the three functions of
``SuiteModule``, an empty ``__init__.py``, and its assets. Nothing outside the folder names a suite.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from bench.core.artifacts import Note
from bench.core.specs import DataSpec, EvaluationSpec, TrainSpec
from bench.errors import RunError, UsageError
from bench.models.loading import context_of
from bench.suites.inputs import UserInputs
from bench.suites.settings import Suite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.data.sets import Split
    from bench.data.tokens import Encoded, Ids
    from bench.evaluate.checkpoint import EvaluationResult, JudgeInputs, Yardstick
    from bench.evaluate.gold_reward import Gold

EVALUATION_SPLITS = ("validation", "test")
"""The split that selects settings, and the split that reports on them."""


@dataclass(frozen=True, kw_only=True)
class StartModel:
    """The model that training starts from: its folder, its tokenizer, and the longest row in tokens.

    ``embeddings``: how many token ids it reads, which may be fewer than its tokenizer knows.
    """

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    embeddings: int


@dataclass(frozen=True, kw_only=True)
class TrainedBy:
    """The objective that a checkpoint was trained by, as far as an evaluation depends on it.

    ``objective``: its name, None for the untrained start model. ``reward``: its definition of the implicit reward.
    ``frozen_reference``: the reference stays the start model during training.
    """

    objective: str | None
    params: Mapping[str, float]
    reward: str
    frozen_reference: bool


class Evaluator(Protocol):
    """Measures checkpoints of one opened suite."""

    @property
    def samples(self) -> bool:
        """Whether completions are sampled; False where every completion is enumerated."""
        ...

    @property
    def gold(self) -> Gold | None:
        """The suite's own reward of a sampled text, None where there is none."""
        ...

    @property
    def judge_inputs(self) -> Mapping[str, JudgeInputs] | None:
        """Judges and their inputs by split, None where the suite has a reward of its own."""
        ...

    def runs_tasks(self, split: str) -> bool:
        """Return whether tasks of lm-eval are measured together with this split."""
        ...

    def score(
        self, model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, trained_by: TrainedBy
    ) -> EvaluationResult:
        """Return the scores that the target needs; also called for models in training."""
        ...

    def measure(
        self, model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, trained_by: TrainedBy
    ) -> EvaluationResult:
        """Return every metric of a finished checkpoint."""
        ...

    def frontiers(self) -> dict[str, dict[str, list[float]]] | None:
        """Return the best reward at each KL (nats) by split, None where it is unknown."""
        ...


@dataclass(frozen=True, kw_only=True)
class SuiteData:
    """Contents of an opened suite: training rows, held-out pairs and prompts of each split, and the evaluator.

    ``held_out`` is empty where the data is unpaired. ``evaluation`` is the requested one, completed by what data and
    judges decide: number of prompts, identities of judges, target. ``prompt_texts``: texts of prompts by token ids,
    where judges see another text than the decoded prompt.
    """

    data: Encoded
    data_spec: DataSpec
    held_out: Mapping[str, Encoded]
    prompts: Mapping[str, tuple[Ids, ...]]
    evaluation: EvaluationSpec
    evaluator: Evaluator
    prompt_texts: Mapping[Ids, str] = field(default_factory=dict)


class SuiteModule(Protocol):
    """The functions of ``bench/suites/NAME/suite.py``."""

    def check_request(self, suite: Suite, inputs: UserInputs, *, train: TrainSpec, evaluation: EvaluationSpec) -> None:
        """Raise UsageError where the suite cannot use an input or lacks one that it needs."""
        ...

    def start_model(self, suite: Suite, *, results: Path, note: Note) -> Path | None:
        """Return the folder of the suite's own start model, None where the user brings it."""
        ...

    def load(
        self,
        suite: Suite,
        inputs: UserInputs,
        start: StartModel,
        *,
        evaluation: EvaluationSpec,
        results: Path,
        note: Note,
    ) -> SuiteData:
        """Read and encode the data and make the evaluator.

        Raises:
            UsageError: the data or the judges do not suit. RunError: the suite's assets are damaged.
        """
        ...


def suite_module(suite: Suite) -> SuiteModule:
    """Return the functions of a suite, from ``suite.py`` in its folder. Raises RunError where there is none."""
    name = f"bench.suites.{suite.name}.suite"
    try:
        return cast(SuiteModule, importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise RunError(
            f"suite {suite.name} has no {suite.folder / 'suite.py'}",
            fix="write it with the functions of bench.suites.protocol.SuiteModule",
        ) from error


def check_context(start: StartModel) -> None:
    """Raise UsageError where the longest row does not fit the model's context."""
    context = context_of(start.folder)
    if context is not None and start.max_length > context:
        raise UsageError(
            f"train.max_length={start.max_length} is more than the {context} tokens of context that "
            f"{start.folder.name} has",
            fix=f"--set train.max_length={context}",
        )


def refuse_judging(suite: Suite, inputs: UserInputs, evaluation: EvaluationSpec) -> None:
    """Raise UsageError for judges, prompts or a target, which a suite with a reward of its own has no use for."""
    named = {"--judge": next(iter(inputs.judges), None), "--strong": inputs.strong, "--prompts": inputs.prompts}
    option = next((f"{name} {value}" for name, value in named.items() if value is not None), None)
    if option is not None:
        raise UsageError(f"{option}: suite {suite.name} has its own reward and prompts", fix="--suite chat")
    if evaluation.target != "reward":
        raise UsageError(
            f"evaluation.target={evaluation.target}: suite {suite.name} has a reward of its own",
            fix="leave it out, or --suite chat",
        )


def refuse_samples(suite: Suite, evaluation: EvaluationSpec, *, reason: str, fix: str) -> None:
    """Raise UsageError for several samples of a prompt, where they would be nothing or are not known to be right."""
    if evaluation.samples > 1:
        raise UsageError(f"evaluation.samples={evaluation.samples}: suite {suite.name} {reason}", fix=fix)


def data_spec_of(split: Split, *, source: str) -> DataSpec:
    """Return the identity of the data in three parts. Raises UsageError where no training row is left."""
    rows = split.parts["train"]
    if not rows.rows:
        raise UsageError(f"{source} leaves no prompt to train on", fix="give at least ten rows with different prompts")
    return DataSpec(kind=rows.kind, source=source, content=split.content, rows=len(rows.rows), sets=split.sets)

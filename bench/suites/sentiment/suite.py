"""The sentiment suite: its own prompts and gold reward; model and data may be the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.artifacts import Note
from bench.core.specs import EvaluationSpec, TrainSpec
from bench.data.encode import encode_ids
from bench.data.sets import Split
from bench.data.tokens import Encoded, Ids
from bench.errors import UsageError
from bench.models.files import same_tokenizer
from bench.models.loading import load_tokenizer
from bench.suites.inputs import UserInputs
from bench.suites.pairs import load_pairs, load_prompts
from bench.suites.protocol import EVALUATION_SPLITS, StartModel, SuiteData, check_context, data_spec_of, refuse_judging
from bench.suites.sampling import SamplingEvaluator
from bench.suites.settings import Suite

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_request(suite: Suite, inputs: UserInputs, *, train: TrainSpec, evaluation: EvaluationSpec) -> None:
    """Raise UsageError for judges, prompts or a target: the suite has a reward of its own."""
    refuse_judging(suite, inputs, evaluation)


def start_model(suite: Suite, *, results: Path, note: Note) -> Path:
    """Return the folder of the small Llama that the suite carries."""
    return suite.folder / "model"


def load(
    suite: Suite,
    inputs: UserInputs,
    start: StartModel,
    *,
    evaluation: EvaluationSpec,
    results: Path,
    note: Note,
) -> SuiteData:
    """Read and encode the suite's pairs, or the user's data, and the suite's prompts.

    Raises:
        UsageError: the data cannot be read, or are the suite's own under another tokenizer.
    """
    check_context(start)
    tokenizer = start.tokenizer
    own = same_tokenizer(start.folder, suite.folder / "model")
    if inputs.data:
        split = inputs.read(tokenizer, max_length=start.max_length, note=note).split
        source = inputs.data_source
    else:
        names = ("train", *EVALUATION_SPLITS)
        parts = {name: _suite_pairs(suite, name, tokenizer, own, start.max_length) for name in names}
        split, source = Split(parts=parts, sets=()), f"suite {suite.name}"
    rows = split.parts["train"]
    return SuiteData(
        data=rows,
        data_spec=data_spec_of(split, source=source),
        held_out={
            name: split.parts[name] for name in EVALUATION_SPLITS if rows.kind == "pairs" and split.parts[name].rows
        },
        prompts={name: _prompts(suite, name, tokenizer, own)[: evaluation.prompts] for name in EVALUATION_SPLITS},
        evaluation=evaluation,
        evaluator=SamplingEvaluator(gold_folder=suite.folder / "gold"),
    )


def _suite_pairs(suite: Suite, split: str, tokenizer: PreTrainedTokenizerBase, own: bool, max_length: int) -> Encoded:
    pairs = load_pairs(suite.folder / "data", split)
    if own:
        return encode_ids(pairs, tokenizer, max_length=max_length, source=f"suite {suite.name}")
    raise UsageError(
        f"suite {suite.name} has preference data for its own tokenizer only",
        fix="give --data FILE with preferences in text, or leave --model out",
    )


def _prompts(suite: Suite, split: str, tokenizer: PreTrainedTokenizerBase, own: bool) -> tuple[Ids, ...]:
    """Return the suite's prompts as the model's token ids; for another tokenizer they are encoded from their text."""
    rows: Sequence[Sequence[int]] = load_prompts(suite.folder / "data", split)
    if own:
        return tuple(tuple(row) for row in rows)
    texts = load_tokenizer(suite.folder / "model").batch_decode(rows, skip_special_tokens=True)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return tuple(tuple(begin + tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)

"""The sentiment suite: its own prompts and gold reward; model and data may be the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core.artifacts import Note
from bench.core.specs import EvaluationSpec, TrainSpec
from bench.data.embedded_ids import refuse_beyond
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
        split = inputs.read(suite, tokenizer, max_length=start.max_length, embeddings=start.embeddings, note=note).split
        source = inputs.data_source
    else:
        names = ("train", *EVALUATION_SPLITS)
        parts = {name: _suite_pairs(suite, name, start, own) for name in names}
        split, source = Split(parts=parts, sets=()), f"suite {suite.name}"
    rows = split.parts["train"]
    return SuiteData(
        data=rows,
        data_spec=data_spec_of(split, source=source),
        held_out={
            name: split.parts[name] for name in EVALUATION_SPLITS if rows.kind == "pairs" and split.parts[name].rows
        },
        prompts={name: _prompts(suite, name, start, own)[: evaluation.prompts] for name in EVALUATION_SPLITS},
        evaluation=evaluation,
        evaluator=SamplingEvaluator(gold_folder=suite.folder / "gold"),
    )


def _suite_pairs(suite: Suite, split: str, start: StartModel, own: bool) -> Encoded:
    pairs = load_pairs(suite.folder / "data", split)
    if own:
        return encode_ids(
            pairs,
            start.tokenizer,
            max_length=start.max_length,
            source=f"suite {suite.name}",
            embeddings=start.embeddings,
        )
    raise UsageError(
        f"suite {suite.name} has preference data for its own tokenizer only",
        fix="give --data FILE with preferences in text, or leave --model out",
    )


def _prompts(suite: Suite, split: str, start: StartModel, own: bool) -> tuple[Ids, ...]:
    """Return the suite's prompts as the model's token ids; for another tokenizer they are encoded from their text.

    Raises UsageError for a token that the model has no embedding for.
    """
    rows: Sequence[Sequence[int]] = load_prompts(suite.folder / "data", split)
    tokenizer = start.tokenizer
    if not own:
        texts = load_tokenizer(suite.folder / "model").batch_decode(rows, skip_special_tokens=True)
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        rows = [begin + tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    for number, ids in enumerate(rows, start=1):
        where = f"suite {suite.name}, prompt {number} of {split}"
        refuse_beyond(ids, tokenizer, start.embeddings, where=where)
    return tuple(map(tuple, rows))

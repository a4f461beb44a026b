"""Readers of whole dialogues that repeat the prompt: lists of messages, and text as in HH-RLHF."""

from collections.abc import Iterator, Mapping

from bench.core.data_options import DataOptions
from bench.data.readers.answer_index import refuse_index
from bench.data.readers.messages import (
    ASSISTANT,
    HUMAN,
    dialogue_of,
    line_ends,
    optional,
    prompt_and_answer,
    prompt_end,
    turns,
)
from bench.data.readers.plain import RATINGS, SCORES
from bench.data.row_errors import RowError, shorten
from bench.data.rows import (
    Message,
    Pair,
    Scores,
    Text,
    encodable,
    make_pair,
    required,
    scores_of,
    shared_length,
    string,
)
from bench.data.template_text import written_dialogue


def read_messages(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair: the prompt is what both lists begin with; a prompt beside them is used where they repeat none."""
    better, worse = turns(required(raw, "chosen"), "chosen"), turns(required(raw, "rejected"), "rejected")
    scores = scores_of(raw, RATINGS)
    if len(better) == len(worse) == 1 and isinstance(raw.get("prompt"), str):
        question: tuple[Message, ...] = ({"role": "user", "content": optional(raw, "prompt")},)
        yield make_pair(question, ("chosen", better), ("rejected", worse), scores=scores, row=row)
        return
    yield pair_of_dialogues(("chosen", better), ("rejected", worse), scores=scores, row=row)


def pair_of_dialogues(
    better: tuple[str, tuple[Message, ...]],
    worse: tuple[str, tuple[Message, ...]],
    *,
    scores: Scores | None = None,
    row: int,
) -> Pair:
    """Return the pair of two dialogues (field, turns) that differ in their last answer only. Raises RowError."""
    prompt, answer = prompt_and_answer(better[1], better[0])
    other, second = prompt_and_answer(worse[1], worse[0])
    if prompt != other:
        place = shared_length(prompt, other)
        raise RowError(
            f"field '{worse[0]}': its dialogue leaves that of '{better[0]}' at message {place + 1}, "
            "before the last answer",
            fix="give two dialogues that differ in their last answer only",
        )
    return make_pair(prompt, (better[0], answer), (worse[0], second), scores=scores, field=better[0], row=row)


def read_text(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair, as messages, or as it is written with ``form="text"``, but for line ends of CR LF.

    Dialogues may have other marks than HH-RLHF's: «## Human:», ChatML, and what else templates write.
    """
    better, worse = (line_ends(string(raw, name)) for name in ("chosen", "rejected"))
    refuse_index(raw, ("chosen", better), ("rejected", worse))
    scores = scores_of(raw, SCORES)
    if options.form != "text" and not (ASSISTANT in better and ASSISTANT in worse):
        dialogues = [written_dialogue(text) for text in (better, worse)]
        one, two = (None if each is None else each.turns for each in dialogues)
        if one is not None and two is not None:
            yield pair_of_dialogues(("chosen", one), ("rejected", two), scores=scores, row=row)
            return
    place = prompt_end((better, worse), ("chosen", "rejected"))
    prompt = prompt_of(better[:place], "chosen", options)
    sides = [(name, answer_of(text[place:], name, options)) for name, text in (("chosen", better), ("rejected", worse))]
    yield make_pair(prompt, sides[0], sides[1], scores=scores, field="chosen", row=row)


def prompt_of(text: str, name: str, options: DataOptions) -> Text:
    """Return the prompt of a dialogue in text, up to and with «\\n\\nAssistant:». Raises RowError."""
    if options.form == "text":
        return encodable(text, name)
    earlier = dialogue_of(text, name)[:-1]
    if not earlier:
        raise RowError(
            f"field '{name}': {shorten(text)} has no turn before the answer",
            fix="begin dialogues with «\\n\\nHuman:»",
        )
    return earlier


def answer_of(text: str, name: str, options: DataOptions) -> Text:
    """Return the answer behind a prompt. Raises RowError where more turns follow."""
    if options.form == "text":
        return encodable(text, name)
    if HUMAN in text or "\n\nAssistant:" in text:
        raise RowError(
            f"field '{name}': {shorten(text)} has further turns: the dialogues differ before their last answer",
            fix="give dialogues that differ in their last answer only; --set data.drop_faulty=true leaves such rows "
            "out, --set data.form=text reads them as they are",
        )
    return ({"role": "assistant", "content": encodable(text.strip(), name)},)

"""Readers of messages beside answers: ShareGPT pairs, OpenAI preference, ms-swift, Orca, conversational KTO."""

from collections.abc import Iterator, Mapping

from bench.core.data_options import DataOptions
from bench.data.column_account import is_empty
from bench.data.column_guards import changes_a_message
from bench.data.mapped_columns import note_keys, unnoted
from bench.data.readers.answer_index import refuse_index
from bench.data.readers.dialogues import pair_of_dialogues
from bench.data.readers.messages import (
    history_of,
    optional,
    prompt_and_answer,
    question_after,
    turn,
    turns,
)
from bench.data.readers.plain import SCORES, names_of_scores, sides_of
from bench.data.row_errors import RowError, listed, shorten, type_name
from bench.data.rows import (
    TIE,
    Dropped,
    Message,
    Pair,
    Single,
    label_of,
    make_pair,
    make_single,
    required,
    scores_of,
    string,
)
from bench.data.side_names import SIDES


def read_sharegpt(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair."""
    name = "conversations" if raw.get("conversations") is not None else "messages"
    prompt = turns(required(raw, name), name)
    refuse_index(raw, ("chosen", raw.get("chosen")), ("rejected", raw.get("rejected")))
    sides = [(side, _one_answer(required(raw, side), side)) for side in ("chosen", "rejected")]
    yield make_pair(prompt, sides[0], sides[1], scores=scores_of(raw, SCORES), field=name, row=row)


def read_openai(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair of one line of a preference file for fine-tuning."""
    source = required(raw, "input")
    if not isinstance(source, dict) or source.get("messages") is None:
        raise RowError(f"field 'input.messages' is missing: {shorten(source)}", fix='write {"messages": […]}')
    more = sorted(name for name in source if changes_a_message(name) and not is_empty(source[name]))
    if more and more != ["messages"]:
        raise RowError(
            f"field 'input.{more[0]}': {shorten(source[more[0]])}", fix="leave it out: text alone is compared"
        )
    note_keys(raw, "input", ("messages",))
    prompt = turns(source["messages"], "input.messages")
    sides = [(name, turns(required(raw, name), name)) for name in ("preferred_output", "non_preferred_output")]
    yield make_pair(prompt, sides[0], sides[1], field="input.messages", row=row)


def read_swift(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pair: the other answer to the same turns, or the same turns with the other answer (version 3.8).

    Version 2 had ``query``, ``history`` and ``response`` in place of the messages.
    """
    if raw.get("messages") is None and raw.get("query") is not None:
        yield from read_orca(raw, options, row)
        return
    dialogue = turns(required(raw, "messages"), "messages")
    if raw.get("rejected_messages") is not None:
        other = turns(raw["rejected_messages"], "rejected_messages")
        yield pair_of_dialogues(("messages", dialogue), ("rejected_messages", other), row=row)
        return
    prompt, answer = prompt_and_answer(dialogue, "messages")
    worse = _one_answer(required(raw, "rejected_response"), "rejected_response")
    yield make_pair(prompt, ("messages", answer), ("rejected_response", worse), field="messages", row=row)


def read_orca(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pair. A score of the chosen answer alone is passed over.

    A row whose ``status`` is «tie» has two answers in no order, as distilabel-intel-orca-dpo-pairs says of its own.
    """
    if raw.get("status") == TIE:
        yield Dropped(reason=TIE)
        return
    name = next((each for each in ("question", "query") if raw.get(each) is not None), "input")
    prompt = question_after(history_of(raw), string(raw, name))
    names = sides_of(raw)
    both = names != SIDES[0] or all(unnoted(raw).get(score) is not None for score in SCORES[0])
    scores = scores_of(raw, names_of_scores(names)) if both else None
    refuse_index(raw, (names[0], raw.get(names[0])), (names[1], raw.get(names[1])))
    sides = [(side, _one_answer(required(raw, side), side)) for side in names]
    yield make_pair(prompt, sides[0], sides[1], scores=scores, field=name, row=row)


def read_kto(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Single]:
    """Yield the last message as a labelled answer to the others, or ``response`` to ``query``."""
    if raw.get("query") is not None and raw.get("messages") is None and raw.get("conversations") is None:
        prompt_messages = question_after(history_of(raw), string(raw, "query"))
        answered = _one_answer(required(raw, "response"), "response")
        yield make_single(prompt_messages, ("response", answered), label=label_of(raw), field="query", row=row)
        return
    name = "messages" if raw.get("messages") is not None else "conversations"
    prompt, answer = prompt_and_answer(turns(required(raw, name), name), name)
    yield make_single(prompt, (name, answer), label=label_of(raw), field=name, row=row)


def read_demonstrations(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Single]:
    """Yield an answer that nobody compared with another, as a wanted one."""
    preferring = sorted(name for name in _PREFERRING if raw.get(name) is not None)
    if preferring:
        raise RowError(
            f"the row has {listed(map(repr, preferring))}, but the rows before it hold answers without a label",
            fix="write all rows in one form, or make a file of each",
        )
    for name in ("messages", "conversations"):
        if raw.get(name) is not None:
            prompt, answer = prompt_and_answer(turns(raw[name], name), name)
            yield make_single(prompt, (name, answer), label=True, field=name, row=row)
            return
    if raw.get("instruction") is not None:
        text = instructed(raw)
        yield make_single(text, ("output", string(raw, "output")), label=True, field="instruction", row=row)
        return
    from bench.data.rows import text_of

    prompt_text = text_of(required(raw, "prompt"), "prompt")
    yield make_single(prompt_text, ("completion", required(raw, "completion")), label=True, row=row)


def instructed(raw: Mapping[str, object]) -> str:
    """Return the instruction, and its input below it where there is one: no template is put around them."""
    instruction, context = string(raw, "instruction"), optional(raw, "input")
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _one_answer(value: object, name: str) -> tuple[Message, ...]:
    """Return an answer as one message, whether it comes as that, as a list of it, or as a string."""
    if isinstance(value, str):
        return ({"role": "assistant", "content": value},)
    if isinstance(value, list):
        return turns(value, name)
    if isinstance(value, dict):
        return (turn(value, name),)
    raise RowError(f"field '{name}': {shorten(value)} is {type_name(value)}", fix="write one message, or a string")


_PREFERRING = (
    "chosen",
    "rejected",
    "label",
    *(name for names in SIDES[1:3] for name in names),
    "rejected_messages",
    "output_1",
    "output_2",
    "preferred_output",
    "scores",
)

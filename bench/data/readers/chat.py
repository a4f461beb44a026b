"""Owns formats of messages beside answers: ShareGPT pairs, OpenAI preference, ms-swift, Orca, conversational KTO."""

from collections.abc import Iterator, Mapping

from bench.data.faults import RowError, listed, shorten, type_name
from bench.data.options import DataOptions
from bench.data.readers.plain import SCORES
from bench.data.readers.turns import asked_and_answered, optional, prompted, turn, turns
from bench.data.rows import Message, Pair, Single, label_of, make_pair, make_single, required, scores_of, string


def read_sharegpt(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair; a ``system`` column beside the turns comes before them."""
    name = "conversations" if raw.get("conversations") is not None else "messages"
    prompt = _with_system(turns(required(raw, name), name), optional(raw, "system"))
    sides = [(side, _one_answer(required(raw, side), side)) for side in ("chosen", "rejected")]
    yield make_pair(prompt, sides[0], sides[1], scores=scores_of(raw, SCORES), field=name, row=row)


def read_openai(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair of one line of a preference file for fine-tuning."""
    given = required(raw, "input")
    if not isinstance(given, dict) or given.get("messages") is None:
        raise RowError(f"field 'input.messages' is missing: {shorten(given)}", fix='write {"messages": […]}')
    if given.get("tools"):
        raise RowError(f"field 'input.tools': {shorten(given['tools'])}", fix="leave tools out: they are not compared")
    prompt = turns(given["messages"], "input.messages")
    sides = [(name, turns(required(raw, name), name)) for name in ("preferred_output", "non_preferred_output")]
    yield make_pair(prompt, sides[0], sides[1], field="input.messages", row=row)


def read_swift(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair; ``rejected_response`` is the other answer to the same turns."""
    prompt, answer = asked_and_answered(turns(required(raw, "messages"), "messages"), "messages")
    other = string(raw, "rejected_response")
    worse = ({"role": "assistant", "content": other},)
    yield make_pair(prompt, ("messages", answer), ("rejected_response", worse), field="messages", row=row)


def read_orca(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair; an empty ``system`` is left out. A score of the chosen answer alone is passed over."""
    name = "question" if raw.get("question") is not None else "input"
    prompt = prompted(optional(raw, "system"), string(raw, name))
    both = all(raw.get(score) is not None for score in SCORES[0])
    sides = [(side, _one_answer(required(raw, side), side)) for side in ("chosen", "rejected")]
    yield make_pair(prompt, sides[0], sides[1], scores=scores_of(raw, SCORES) if both else None, field=name, row=row)


def read_kto(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Single]:
    """Yield the last message as a labelled answer to the others."""
    name = "messages" if raw.get("messages") is not None else "conversations"
    dialogue = _with_system(turns(required(raw, name), name), optional(raw, "system"))
    prompt, answer = asked_and_answered(dialogue, name)
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
            dialogue = _with_system(turns(raw[name], name), optional(raw, "system"))
            prompt, answer = asked_and_answered(dialogue, name)
            yield make_single(prompt, (name, answer), label=True, field=name, row=row)
            return
    if raw.get("instruction") is not None:
        asked = instructed(raw)
        yield make_single(asked, ("output", string(raw, "output")), label=True, field="instruction", row=row)
        return
    from bench.data.rows import text_of

    prompt_text = text_of(required(raw, "prompt"), "prompt")
    yield make_single(prompt_text, ("completion", required(raw, "completion")), label=True, row=row)


def instructed(raw: Mapping[str, object]) -> str:
    """Return the instruction, and its input below it where there is one: no template is put around them."""
    instruction, given = string(raw, "instruction"), optional(raw, "input")
    return f"{instruction}\n\n{given}" if given.strip() else instruction


def _one_answer(value: object, name: str) -> tuple[Message, ...]:
    """An answer as one message, whether it comes as that, as a list of it, or as a string."""
    if isinstance(value, str):
        return ({"role": "assistant", "content": value},)
    if isinstance(value, list):
        return turns(value, name)
    if isinstance(value, dict):
        return (turn(value, name),)
    raise RowError(f"field '{name}': {shorten(value)} is {type_name(value)}", fix="write one message, or a string")


def _with_system(dialogue: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    return ({"role": "system", "content": system}, *dialogue) if system.strip() else dialogue


_PREFERRING = ("chosen", "rejected", "label", "rejected_response", "output_1", "output_2", "preferred_output", "scores")

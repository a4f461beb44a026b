"""Types of a preference row, and the checks that rows of every format pass."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from bench.data.column_account import is_empty
from bench.data.column_guards import changes_a_message
from bench.data.json_cells import object_in
from bench.data.row_errors import RowError, listed, shorten, type_name
from bench.errors import did_you_mean

ACCEPTED = (
    "accepted are pairs (prompt, chosen, rejected; optional chosen_score, rejected_score) and "
    "unpaired rows (prompt, completion, label), as strings or as lists of {role, content}"
)


class Message(TypedDict):
    """One turn of a dialogue."""

    role: str
    content: str


class Cell(str):
    """Text of a CSV file, where a number or a label has no form of its own."""

    __slots__ = ()


Text = str | tuple[Message, ...]
Kind = Literal["pairs", "unpaired"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two completions of one prompt, the first preferred. ``id`` is the row's number in its file, from 1.

    Prompt and completions are all text, or all messages; scores are the annotator's, higher is better, both or none.
    ``agreement`` is the share of several annotators who preferred the chosen one, None where one decided.
    ``shard`` names the file of a folder that the row stands in.
    """

    prompt: Text
    chosen: Text
    rejected: Text
    chosen_score: float | None = None
    rejected_score: float | None = None
    id: int
    shard: str = ""
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class Single:
    """One completion and whether it is wanted. ``id`` is the row's number in its file, from 1; ``shard`` as in Pair."""

    prompt: Text
    completion: Text
    label: bool
    id: int
    shard: str = ""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row, or a pair of one, that holds no preference by its own account; ``reason`` is counted."""

    reason: str


_NO_SCORE = (None, Cell(""))
TIE: Final = "tie"
"""The reason where answers are equally good."""
UNDECIDED, UNSCORED = "no preference", "fewer than two scores"
"""The reasons where nobody said which answer is better."""
Scores = tuple[float, float]
_ROLES = ("assistant", "developer", "system", "tool", "user")


def make_pair(
    prompt: Text,
    chosen: tuple[str, object],
    rejected: tuple[str, object],
    *,
    scores: Scores | None = None,
    field: str = "prompt",
    row: int,
) -> Pair:
    """Return the checked pair. ``chosen`` and ``rejected`` are (the field's name, its value), named in RowError."""
    _answerable(prompt, field)
    better, worse = completion(chosen[1], chosen[0], prompt), completion(rejected[1], rejected[0], prompt)
    if better == worse:
        raise RowError(
            f"field '{rejected[0]}': {shorten(worse)} is equal to '{chosen[0]}', so there is nothing to prefer",
            fix="remove the row, or give two different completions; --set data.drop_equal=true leaves such rows out",
            kind="equal",
        )
    high, low = scores or (None, None)
    return Pair(prompt=prompt, chosen=better, rejected=worse, chosen_score=high, rejected_score=low, id=row)


def make_single(prompt: Text, answer: tuple[str, object], *, label: bool, field: str = "prompt", row: int) -> Single:
    """Return the checked completion. ``answer`` is (the field's name, its value), named in RowError."""
    _answerable(prompt, field)
    return Single(prompt=prompt, completion=completion(answer[1], answer[0], prompt), label=label, id=row)


def as_object(raw: object) -> dict[str, object]:
    """Return a raw row, known to be an object, which may stand in a string as JSON. Raises RowError."""
    if isinstance(raw, str) and (inside := object_in(raw)) is not None:
        return inside
    if not isinstance(raw, dict):
        raise RowError(f"{shorten(raw)} is {type_name(raw)}, not an object", fix=ACCEPTED)
    return raw


def required(fields: Mapping[str, object], name: str) -> object:
    """Return a field's value; ``null`` counts as missing. Raises RowError."""
    if fields.get(name) is None:
        stated = [each for each in fields if fields[each] is not None]
        raise RowError(f"field '{name}' is missing (columns found: {listed(stated)})", fix=ACCEPTED)
    return fields[name]


def string(fields: Mapping[str, object], name: str) -> str:
    """Return a field that must be a string. Raises RowError."""
    value = required(fields, name)
    if not isinstance(value, str):
        raise RowError(f"field '{name}': {shorten(value)} is {type_name(value)}", fix="write a string")
    return encodable(value, name)


def text_of(value: object, name: str) -> Text:
    """Return a string, or a list of messages as a tuple. Raises RowError."""
    if isinstance(value, str):
        return encodable(value, name)
    if isinstance(value, list) and value:
        return tuple(message(each, f"{name}[{index}]") for index, each in enumerate(value))
    what = "an empty list" if value == [] else type_name(value)
    fix = "write a string, or a list of at least one {role, content}"
    raise RowError(f"field '{name}': {shorten(value)} is {what}", fix=fix)


def encodable(value: str, name: str) -> str:
    """Return the text, known to be Unicode. Raises RowError."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        fix = "replace the half of a surrogate pair by the whole character"
        raise RowError(f"field '{name}': {value[error.start]!r} is no character of Unicode", fix=fix) from None
    return value


def message(value: object, name: str) -> Message:
    """Return one checked {role, content}. Raises RowError."""
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        sharegpt = isinstance(value, dict) and {"from", "value"} <= value.keys()
        hint = "rename from to role (human → user, gpt → assistant) and value to content" if sharegpt else ""
        fix = hint or 'write each message as {"role": "user", "content": "…"}'
        raise RowError(f"field '{name}': {shorten(value)} is no message", fix=fix)
    role, content = value["role"], value.get("content")
    if role not in _ROLES:
        raise RowError(f"field '{name}.role': {shorten(role)} is no role", fix=did_you_mean(role, _ROLES))
    if not isinstance(content, str):
        fix = "write the message's text as one string"
        raise RowError(f"field '{name}.content': {shorten(content)} is {type_name(content)}", fix=fix)
    refuse_more_than_words(value, name, words=("role", "content"))
    return {"role": role, "content": encodable(content, f"{name}.content")}


def refuse_more_than_words(value: Mapping[str, object], name: str, *, words: tuple[str, str]) -> None:
    """Raise RowError for a message that says more than its words: tools, pictures, reasoning; others are not read."""
    if len(value) == len(words):
        return
    more = [key for key, each in value.items() if key not in words and changes_a_message(key) and not is_empty(each)]
    if more:
        raise RowError(
            f"field '{name}': the message also has {listed(map(repr, sorted(more)))}",
            fix=f"leave {' and '.join(words)} only: what a template would make of the rest is not compared here",
            kind=f"with '{min(more)}' in a message",
        )


def completion(value: object, name: str, prompt: Text) -> Text:
    """Return an answer in the prompt's form, with text in it. Raises RowError."""
    answer = value if isinstance(value, tuple) else text_of(value, name)
    if isinstance(answer, str) != isinstance(prompt, str):
        forms = ("a string", "a list of messages") if isinstance(answer, str) else ("a list of messages", "a string")
        fix = f'write both as strings, or prompt as [{{"role": "user", …}}] and {name} as [{{"role": "assistant", …}}]'
        raise RowError(f"field '{name}': {shorten(value)} is {forms[0]}, but 'prompt' is {forms[1]}", fix=fix)
    if isinstance(answer, tuple) and (len(answer) != 1 or answer[0]["role"] != "assistant"):
        roles = ", ".join(each["role"] for each in answer)
        repeats = answer[:-1] == prompt and answer[-1]["role"] == "assistant"
        fix = "leave out the turns that repeat the prompt" if repeats else "move all earlier turns to prompt"
        problem = f"field '{name}': its messages are of {roles}, where one message of the assistant is right"
        raise RowError(problem, fix=fix)
    content = answer if isinstance(answer, str) else answer[0]["content"]
    if not content.strip():
        bare = "prompt and completion are both empty" if isinstance(prompt, str) and not prompt.strip() else ""
        problem = f"field '{name}': {shorten(content)} is {'only white space' if content else 'empty'}"
        fix = "remove the row, or give a completion with text in it; --set data.drop_empty=true leaves such rows out"
        raise RowError(f"{problem}{bare and f'; {bare}'}", fix=fix, kind="empty")
    return answer


def label_of(fields: Mapping[str, object]) -> bool:
    """Return the label of a row. Raises RowError for all but true and false."""
    value = required(fields, "label")
    if isinstance(value, Cell):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if isinstance(value, bool):
        return value
    fix = "write true (desirable) or false (undesirable); 0, 1 and strings are refused, since they may be scores"
    raise RowError(f"field 'label': {shorten(value)} is {type_name(value)}, not a boolean", fix=fix)


def scores_of(fields: Mapping[str, object], names: Sequence[tuple[str, str]]) -> Scores | None:
    """Return (chosen, rejected) by the first name of each that is there, or None. Raises RowError for one alone."""
    better, worse = (
        next((name for name in side if fields.get(name) not in _NO_SCORE), None) for side in zip(*names, strict=True)
    )
    if better is None and worse is None:
        return None
    if better is None or worse is None:
        absent, present = ("chosen_score", worse) if better is None else ("rejected_score", better)
        raise RowError(f"field '{absent}' is missing, but '{present}' is there", fix="give both scores or none")
    return score_of(fields[better], better), score_of(fields[worse], worse)


def score_of(value: object, name: str) -> float:
    """Return a finite number. Raises RowError."""
    if isinstance(value, Cell):
        value = _number_in(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(f"field '{name}': {shorten(value)} is {type_name(value)}", fix="write a number")
    # An integer of more than 308 digits is beyond the floats.
    number = float(value) if abs(value) <= sys.float_info.max else math.inf
    if not math.isfinite(number):
        fix = "write a finite number, or leave both scores out"
        raise RowError(f"field '{name}': {shorten(value)} is not finite", fix=fix)
    return number


def _number_in(cell: Cell) -> object:
    try:
        return float(cell)
    except ValueError:
        return str(cell)


def completions_of(row: Pair | Single) -> dict[str, Text]:
    """Return a row's answers by field."""
    if isinstance(row, Pair):
        return {"chosen": row.chosen, "rejected": row.rejected}
    return {"completion": row.completion}


def shared_length(one: Sequence[object], two: Sequence[object]) -> int:
    """Return how many items two sequences have in common at their beginning."""
    shorter = min(len(one), len(two))
    if isinstance(one, str) and isinstance(two, str):
        # Halving: slices of strings are compared far faster than letters one by one.
        low, high = 0, shorter
        while low < high:
            middle = (low + high + 1) // 2
            if one[low:middle] == two[low:middle]:
                low = middle
            else:
                high = middle - 1
        return low
    return next((i for i in range(shorter) if one[i] != two[i]), shorter)


def words_of(text: Text) -> str:
    """Return a prompt or an answer as judges read it: a single turn as it is, a longer dialogue turn by turn."""
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return text[0]["content"]
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in text)


def _answerable(prompt: Text, field: str) -> None:
    if isinstance(prompt, tuple) and prompt[-1]["role"] == "assistant":
        raise RowError(
            f"field '{field}': the last message, {shorten(prompt[-1])}, is the assistant's",
            fix="end the prompt with the turn that is to be answered; the assistant's answer is the completion",
        )

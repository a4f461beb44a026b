"""Owns what a preference row may be: the types, and the checks that turn one raw row into one of them."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from bench.data.files import RowError, listed, shorten
from bench.data.formats import ACCEPTED, refuse_format
from bench.errors import did_you_mean


class Message(TypedDict):
    """One turn of a dialogue."""

    role: str
    content: str


Text = str | tuple[Message, ...]
Kind = Literal["pairs", "unpaired"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two completions of one prompt, the first preferred. ``id`` is the row's number in its file, from 1.

    Prompt and completions are all text, or all messages; scores are the annotator's, higher is better, both or none.
    """

    prompt: Text
    chosen: Text
    rejected: Text
    chosen_score: float | None = None
    rejected_score: float | None = None
    id: int


@dataclass(frozen=True, kw_only=True)
class Single:
    """One completion and whether it is wanted. ``id`` is the row's number in its file, from 1."""

    prompt: Text
    completion: Text
    label: bool
    id: int


_ROLES = ("assistant", "developer", "system", "tool", "user")


def parse_row(raw: object, *, row: int) -> Pair | Single:
    """Return the checked row; raise RowError naming the field, its value and what would be right.

    Fields beyond the accepted ones are passed over; ``null`` counts as missing. ``score_chosen`` and
    ``score_rejected``, as UltraFeedback spells them, are read as ``chosen_score`` and ``rejected_score``.
    """
    if not isinstance(raw, dict):
        raise RowError(f"{shorten(raw)} is {_type_name(raw)}, not an object", fix=ACCEPTED)
    fields = {name: value for name, value in raw.items() if value is not None}
    paired = bool({"chosen", "rejected"} & fields.keys())
    single = bool({"completion", "label"} & fields.keys())
    if "prompt" not in fields or not (paired or single):
        refuse_format(raw, fields)
    if paired and single:
        raise RowError(
            f"the row has fields of both formats ({listed(sorted(fields))})",
            fix="leave either chosen and rejected, or completion and label",
        )
    prompt = _text(fields, "prompt")
    if isinstance(prompt, tuple) and prompt[-1]["role"] == "assistant":
        raise RowError(
            f"field 'prompt': the last message, {shorten(prompt[-1])}, is the assistant's",
            fix="end the prompt with the turn that is to be answered; the assistant's answer is the completion",
        )
    if single:
        return Single(prompt=prompt, completion=_completion(fields, "completion", prompt), label=_label(fields), id=row)
    chosen, rejected = _completion(fields, "chosen", prompt), _completion(fields, "rejected", prompt)
    if chosen == rejected:
        raise RowError(
            f"field 'rejected': {shorten(rejected)} is equal to 'chosen', so there is nothing to prefer",
            fix="remove the row, or give two different completions",
        )
    chosen_score, rejected_score = _scores(fields)
    return Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        chosen_score=chosen_score,
        rejected_score=rejected_score,
        id=row,
    )


def _required(fields: Mapping[str, object], name: str) -> object:
    if name not in fields:
        raise RowError(f"field '{name}' is missing (columns found: {listed(fields)})", fix=ACCEPTED)
    return fields[name]


def _text(fields: Mapping[str, object], name: str) -> Text:
    value = _required(fields, name)
    if isinstance(value, str):
        return _encodable(value, name)
    if isinstance(value, list) and value:
        return tuple(_message(each, f"{name}[{index}]") for index, each in enumerate(value))
    what = "an empty list" if value == [] else _type_name(value)
    fix = "write a string, or a list of at least one {role, content}"
    raise RowError(f"field '{name}': {shorten(value)} is {what}", fix=fix)


def _encodable(value: str, name: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        fix = "replace the half of a surrogate pair by the whole character"
        raise RowError(f"field '{name}': {value[error.start]!r} is no character of Unicode", fix=fix) from None
    return value


def _message(value: object, name: str) -> Message:
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
        raise RowError(f"field '{name}.content': {shorten(content)} is {_type_name(content)}", fix=fix)
    extra = sorted(key for key, each in value.items() if key not in ("role", "content") and each not in (None, [], {}))
    if extra:
        fix = "leave role and content only: what a template would make of the rest is not compared here"
        raise RowError(f"field '{name}': the message also has {listed(map(repr, extra))}", fix=fix)
    return {"role": role, "content": _encodable(content, f"{name}.content")}


def _completion(fields: Mapping[str, object], name: str, prompt: Text) -> Text:
    value = _text(fields, name)
    if isinstance(value, str) != isinstance(prompt, str):
        forms = ("a string", "a list of messages") if isinstance(value, str) else ("a list of messages", "a string")
        fix = f'write both as strings, or prompt as [{{"role": "user", …}}] and {name} as [{{"role": "assistant", …}}]'
        raise RowError(f"field '{name}': {shorten(value)} is {forms[0]}, but 'prompt' is {forms[1]}", fix=fix)
    if isinstance(value, tuple) and (len(value) != 1 or value[0]["role"] != "assistant"):
        roles = ", ".join(message["role"] for message in value)
        repeats = value[:-1] == prompt and value[-1]["role"] == "assistant"
        fix = "leave out the turns that repeat the prompt" if repeats else "move all earlier turns to prompt"
        problem = f"field '{name}': its messages are of {roles}, where one message of the assistant is right"
        raise RowError(problem, fix=fix)
    content = value if isinstance(value, str) else value[0]["content"]
    if not content.strip():
        bare = "prompt and completion are both empty" if isinstance(prompt, str) and not prompt.strip() else ""
        problem = f"field '{name}': {shorten(content)} is {'only white space' if content else 'empty'}"
        raise RowError(f"{problem}{bare and f'; {bare}'}", fix="remove the row, or give a completion with text in it")
    return value


def _label(fields: Mapping[str, object]) -> bool:
    value = _required(fields, "label")
    if isinstance(value, bool):
        return value
    fix = "write true (desirable) or false (undesirable); 0, 1 and strings are refused, since they may be scores"
    raise RowError(f"field 'label': {shorten(value)} is {_type_name(value)}, not a boolean", fix=fix)


def _scores(fields: Mapping[str, object]) -> tuple[float | None, float | None]:
    names = [
        next((name for name in (f"{side}_score", f"score_{side}") if name in fields), None)
        for side in ("chosen", "rejected")
    ]
    chosen, rejected = names
    if chosen is None and rejected is None:
        return None, None
    if chosen is None or rejected is None:
        absent, given = ("chosen_score", rejected) if chosen is None else ("rejected_score", chosen)
        raise RowError(f"field '{absent}' is missing, but '{given}' is there", fix="give both scores or none")
    return _score(fields, chosen), _score(fields, rejected)


def _score(fields: Mapping[str, object], name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(f"field '{name}': {shorten(value)} is {_type_name(value)}", fix="write a number")
    # An integer of more than 308 digits is beyond the floats.
    number = float(value) if abs(value) <= sys.float_info.max else math.inf
    if not math.isfinite(number):
        fix = "write a finite number, or leave both scores out"
        raise RowError(f"field '{name}': {shorten(value)} is not finite", fix=fix)
    return number


def _type_name(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return names.get(type(value), f"of type {type(value).__name__}")

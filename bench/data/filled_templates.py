"""Dialogues as a chat template writes them, many at once: rendered once for an order of roles, where that is exact."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from jinja2 import Environment, TemplateError, nodes

from bench.data.rows import Message

_FIRST, _LAST = "\ue000", "\ue001"
_PLACE = re.compile(f"{_FIRST}([0-9]+){_LAST}")
_ODD = (
    "  two  words ",
    "\n\na line\n",
    "é – 漢字 🙂",
    "{{ braces }} {% x %}",
    "<b>&amp;</b>",
    "\t",
    "'quoted' \"twice\"",
)
"""Texts with all that a template or an escape might change."""
Kind = Literal["messages", "message", "content", "other"]
_FIXED_TESTS = ("string", "defined", "undefined", "none", "mapping", "number")
"""Tests whose outcome is the same for every text."""


class Renderer(Protocol):
    """What is used of a tokenizer to write dialogues."""

    chat_template: str | None

    def apply_chat_template(
        self, conversation: list[list[Message]], *, add_generation_prompt: bool, tokenize: bool
    ) -> list[str]:
        """Return the texts of dialogues."""
        ...


class TemplateText:
    """A tokenizer's chat template. Texts are filled into what it writes for their roles, where ``prints_contents``."""

    def __init__(self, tokenizer: Renderer) -> None:
        self._tokenizer = tokenizer
        self._skeletons: dict[tuple[bool, tuple[str, ...]], list[str] | None] = {}
        template = tokenizer.chat_template
        self._fills = isinstance(template, str) and prints_contents(template)

    def render(self, dialogues: Sequence[Sequence[Message]], *, generation: bool) -> list[str]:
        """Return each dialogue as the template writes it. Raises what the template raises."""
        if not self._fills:
            return self._slow(dialogues, generation=generation)
        return [self._filled(dialogue, generation=generation) for dialogue in dialogues]

    def _slow(self, dialogues: Sequence[Sequence[Message]], *, generation: bool) -> list[str]:
        return self._tokenizer.apply_chat_template(
            [list(dialogue) for dialogue in dialogues], add_generation_prompt=generation, tokenize=False
        )

    def _filled(self, dialogue: Sequence[Message], *, generation: bool) -> str:
        roles = tuple(message["role"] for message in dialogue)
        key = (generation, roles)
        if key not in self._skeletons:
            self._skeletons[key] = self._skeleton(roles, generation=generation)
        skeleton = self._skeletons[key]
        contents = [message["content"] for message in dialogue]
        if skeleton is None or any(_FIRST in content for content in contents):
            return self._slow([dialogue], generation=generation)[0]
        return _fill(skeleton, contents)

    def _skeleton(self, roles: tuple[str, ...], *, generation: bool) -> list[str] | None:
        """Return the text around the contents, and which content comes in between; None where filling is not exact."""
        marked: list[Message] = [
            {"role": role, "content": f" {_FIRST}{place}{_LAST} "} for place, role in enumerate(roles)
        ]
        text = self._slow([marked], generation=generation)[0]
        pieces: list[str] = []
        start = 0
        for match in _PLACE.finditer(text):
            spaced = text[match.start() - 1 : match.end() + 1] == f" {match.group()} "
            edge = int(spaced)
            pieces += [text[start : match.start() - edge], ("=" if spaced else "-") + match[1]]
            start = match.end() + edge
        pieces.append(text[start:])
        for odd in odd_dialogues(roles):
            if self._slow([odd], generation=generation)[0] != _fill(pieces, [turn["content"] for turn in odd]):
                return None
        return pieces


def _fill(skeleton: Sequence[str], contents: Sequence[str]) -> str:
    parts = list(skeleton)
    for place in range(1, len(parts), 2):
        content = contents[int(parts[place][1:])]
        parts[place] = content if parts[place][0] == "=" else content.strip()
    return "".join(parts)


def prints_contents(template: str) -> bool:
    """Say whether a template does nothing with the text of a message but print it, whole or stripped.

    Then what it writes for an order of roles is the same around whatever texts. It is read off the template's syntax:
    a text may be printed, joined to others by + or ~, trimmed, and named by ``set``; anything else, such as a condition
    on it, counts as a no.
    """
    try:
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateError:
        return False
    names: dict[str, Kind] = {"messages": "messages"}
    try:
        while True:
            before = dict(names)
            _check(tree, names)
            if names == before:
                return True
    except _OtherUseError:
        return False


class _OtherUseError(Exception):
    """A text of a message is used for more than to be printed."""


def _check(node: nodes.Node, names: dict[str, Kind]) -> None:
    """Look at a statement and all below it. Raises _OtherUseError."""
    match node:
        case nodes.Output():
            for expression in node.nodes:
                _kind(expression, names, printed=True)
        case nodes.Assign(target=nodes.Name() as target):
            _bind(target.name, _kind(node.node, names, printed=True, bound=True), names)
        case nodes.For():
            iterated = _kind(node.iter, names, bound=True)
            if iterated in ("message", "content"):
                raise _OtherUseError
            if iterated == "messages":
                if not isinstance(node.target, nodes.Name):
                    raise _OtherUseError
                _bind(node.target.name, "message", names)
            for each in (*node.body, *node.else_, *([] if node.test is None else [node.test])):
                _check(each, names)
        case nodes.Expr():
            _kind(node, names)
        case _:
            for each in node.iter_child_nodes():
                _check(each, names)


def _bind(name: str, kind: Kind, names: dict[str, Kind]) -> None:
    known = names.get(name, "other")
    if "other" not in (known, kind) and known != kind:
        raise _OtherUseError
    names[name] = kind if known == "other" else known


def _kind(node: nodes.Node, names: dict[str, Kind], *, printed: bool = False, bound: bool = False) -> Kind:
    """Return what an expression is. Raises _OtherUseError where a message or its text has another use than ``printed``.

    Args:
        bound: whether the value gets a name, so that lists and messages may be it.
    """
    kind = _kind_of(node, names, printed=printed)
    if (kind == "content" and not printed) or (kind in ("message", "messages") and not bound):
        raise _OtherUseError
    return kind


def _kind_of(node: nodes.Node, names: dict[str, Kind], *, printed: bool) -> Kind:
    match node:
        case nodes.Name():
            return names.get(node.name, "other")
        case nodes.Getattr():
            return _field_of(node.node, node.attr, names)
        case nodes.Getitem(arg=nodes.Const(value=str() as name)):
            return _field_of(node.node, name, names)
        case nodes.Getitem():
            return _item_of(node, names)
        case nodes.Add() | nodes.Concat():
            kinds = [_kind(piece, names, printed=printed) for piece in node.iter_child_nodes()]
            return "content" if "content" in kinds else "other"
        case nodes.CondExpr():
            _kind(node.test, names)
            sides = [node.expr1, *([] if node.expr2 is None else [node.expr2])]
            return "content" if "content" in [_kind(side, names, printed=printed) for side in sides] else "other"
        case nodes.Filter(name="trim", args=[], node=nodes.Getattr() | nodes.Getitem() as text):
            return _kind(text, names, printed=printed)
        case nodes.Filter(name="length" | "count", args=[], node=nodes.Name() as listed):
            if names.get(listed.name, "other") in ("message", "content"):
                raise _OtherUseError
            return "other"
        case nodes.Test() if node.name in _FIXED_TESTS:
            _kind(node.node, names, printed=True, bound=True)
            return "other"
    for each in node.iter_child_nodes():
        _kind(each, names) if isinstance(each, nodes.Expr) else _check(each, names)
    return "other"


def _field_of(base: nodes.Node, name: str, names: dict[str, Kind]) -> Kind:
    _kind(base, names, bound=True)
    if name == "content":
        return "content"
    return "message" if name in ("previtem", "nextitem") else "other"


def _item_of(node: nodes.Getitem, names: dict[str, Kind]) -> Kind:
    base = _kind(node.node, names, bound=True)
    for each in node.arg.iter_child_nodes() if isinstance(node.arg, nodes.Slice) else [node.arg]:
        _kind(each, names)
    if base == "messages":
        return "messages" if isinstance(node.arg, nodes.Slice) else "message"
    if base == "message":  # a key that is known only when the template runs
        raise _OtherUseError
    return base


def odd_dialogues(roles: Sequence[str]) -> Iterator[list[Message]]:
    """Yield dialogues of these roles, of texts that a tokenizer or a template might treat in another way."""
    for shift in range(len(_ODD)):
        yield [{"role": role, "content": _ODD[(place + shift) % len(_ODD)]} for place, role in enumerate(roles)]

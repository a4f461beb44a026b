"""Dialogues that a chat template has written into one text already, and their turns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.data.rows import Message

_ROLES = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant", "model": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One way of writing turns: what stands before each (with the speaker as its group), after it, and at the start.

    ``roles`` maps speakers to roles. ``trimmed``: white space around a turn belongs to the marks. ``marks`` cannot
    stand in a turn's text.
    """

    name: str
    header: re.Pattern[str]
    roles: Mapping[str, str]
    marks: tuple[str, ...]
    ends: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    trimmed: bool = True


@dataclass(frozen=True, kw_only=True)
class WrittenDialogue:
    """The turns of a text, all of which they use up; ``waiting``: the assistant's mark ends it, without an answer."""

    family: Family
    turns: tuple[Message, ...]
    waiting: bool


def _worded(human: str, assistant: str, before: str, *, sign: str = "") -> Family:
    """Return the family of turns that begin with a word and a colon, such as «\\n\\nHuman:» or «### Human:»."""
    names = (human, assistant)
    return Family(
        name=f"{sign}{' ' if sign else ''}{human}:",
        header=re.compile(rf"{before if sign else f'(?:^|{before})'}({human}|{assistant}) ?:"),
        roles={human: "user", assistant: "assistant"},
        marks=tuple(f"{sign}{space}{name}:" for name in names for space in ("", " "))
        if sign
        else tuple(f"\n{name}:" for name in names),
    )


TOKEN_FAMILIES = (
    Family(
        name="ChatML",
        header=re.compile(r"<\|im_start\|>(system|developer|user|assistant) *(?:\n|$)"),
        roles=_ROLES,
        marks=("<|im_start|>", "<|im_end|>"),
        ends=("<|im_end|>",),
        starts=("<s>", "<|endoftext|>", "<|begin_of_text|>"),
        trimmed=False,
    ),
    Family(
        name="Llama 3",
        header=re.compile(r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>"),
        roles=_ROLES,
        marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ends=("<|eot_id|>",),
        starts=("<|begin_of_text|>",),
    ),
    Family(
        name="Llama 4",
        header=re.compile(r"<\|header_start\|>(system|user|assistant)<\|header_end\|>"),
        roles=_ROLES,
        marks=("<|header_start|>", "<|header_end|>", "<|eot|>"),
        ends=("<|eot|>",),
        starts=("<|begin_of_text|>",),
    ),
    Family(
        name="Gemma",
        header=re.compile(r"<start_of_turn>(system|user|model) *(?:\n|$)"),
        roles=_ROLES,
        marks=("<start_of_turn>", "<end_of_turn>"),
        ends=("<end_of_turn>",),
        starts=("<bos>",),
    ),
    Family(
        name="Command R",
        header=re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(SYSTEM|USER|CHATBOT)_TOKEN\|>"),
        roles={"SYSTEM": "system", "USER": "user", "CHATBOT": "assistant"},
        marks=("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ends=("<|END_OF_TURN_TOKEN|>",),
        starts=("<BOS_TOKEN>",),
    ),
    Family(
        name="Zephyr",
        header=re.compile(r"<\|(system|user|assistant)\|>"),
        roles=_ROLES,
        marks=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ends=("</s>", "<|end|>", "<|endoftext|>"),
        starts=("<s>",),
    ),
    Family(
        name="DeepSeek",
        header=re.compile(r"<｜(User|Assistant)｜>"),
        roles={"User": "user", "Assistant": "assistant"},
        marks=("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        ends=("<｜end▁of▁sentence｜>",),
        starts=("<｜begin▁of▁sentence｜>",),
    ),
    Family(
        name="Llama 2",
        header=re.compile(r"(?:<s>)?\s*\[(INST|/INST)\]"),
        roles={"INST": "user", "/INST": "assistant"},
        marks=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
        ends=("</s>",),
        starts=("<s>",),
    ),
)
_WORDS = (("Human", "Assistant"), ("User", "Assistant"), ("USER", "ASSISTANT"), ("HUMAN", "ASSISTANT"))
WORD_FAMILIES = (
    # A blank line before each turn, as in HH-RLHF, else a line of its own.
    *(_worded(human, assistant, r"\n\n") for human, assistant in _WORDS),
    *(_worded(human, assistant, r"\n\s*") for human, assistant in _WORDS),
    *(
        _worded(human, assistant, rf"\s*(?<!#){sign} ?", sign=sign)
        for sign in ("####", "###", "##", "#")
        for human, assistant in (*_WORDS, ("Instruction", "Response"))
    ),
)
FAMILIES = (*TOKEN_FAMILIES, *WORD_FAMILIES)
_SYSTEM = re.compile(r"\s*<<SYS>>\n?(.*?)\n?<</SYS>>\s*", re.DOTALL)
_TOKEN_SIGNS = ("<|", "<start_of_turn>", "<｜", "INST]")
_SIGNS = (*_TOKEN_SIGNS, "Human:", "ssistant", "ASSISTANT", "Response")
_BEGINNING = re.compile(
    r"\s*(?:<|\[INST|#{1,4} ?(?:Human|User|USER|HUMAN|Instruction) ?:|(?:Human|User|USER|HUMAN) ?:)"
)
_DIALOGUE_MARKS = ("\n\nHuman:", "\n\nAssistant:", "\r\n\r\nHuman:", "\r\n\r\nAssistant:")


def has_signs(text: str) -> bool:
    """Say whether a text may have a template's marks at all, which is asked of every row."""
    return any(sign in text for sign in _SIGNS)


def written_dialogue(text: str) -> WrittenDialogue | None:
    """Return the dialogue that a template wrote into a text; None where one turn of it is in doubt.

    It is certain where the text begins with a mark, its turns alternate after at most one system text, and no mark
    stands within one.
    """
    if not _BEGINNING.match(text):
        return None
    body = text.replace("\r\n", "\n").lstrip()
    dialogues = (_dialogue(_after_starts(body, family), family) for family in FAMILIES)
    return next((dialogue for dialogue in dialogues if dialogue is not None), None)


def _dialogue(body: str, family: Family) -> WrittenDialogue | None:
    first = family.header.match(body)
    if first is None or family.roles[first[1]] == "assistant":
        return None
    headers = list(family.header.finditer(body))
    if family in WORD_FAMILIES and len({body[each.start() : each.start(1)] for each in headers[1:]}) > 1:
        return None  # what stands before a turn is one thing throughout
    ends = [header.start() for header in headers[1:]] + [len(body)]
    turns: list[Message] = []
    for header, end in zip(headers, ends, strict=True):
        content = _without_end(body[header.end() : end], family)
        turns.append({"role": family.roles[header[1]], "content": content})
    waiting = turns[-1]["role"] == "assistant" and not turns[-1]["content"].strip() and len(turns) > 1
    if waiting:
        turns.pop()
    turns = _with_system(turns, family)
    return WrittenDialogue(family=family, turns=tuple(turns), waiting=waiting) if _alternate(turns, family) else None


def written_answer(text: str, family: Family, *, waiting: bool) -> str | None:
    """Return the words of an answer to a dialogue in a text: without the mark that ends it, and without its own header.

    None where another mark stands in it.
    """
    body = text.replace("\r\n", "\n") if family in WORD_FAMILIES else text
    if not waiting:
        header = family.header.match(body.lstrip())
        if header is not None and family.roles[header[1]] == "assistant":
            body = body.lstrip()[header.end() :]
    answer = _without_end(body, family)
    return None if _marked(answer, family) else answer


def looks_written(text: str) -> str | None:
    """Return the mark by which a text is a dialogue that a template wrote, though not turn by turn; None: it is none.

    Marks of words count where a blank line stands before them, as in HH-RLHF; tokens where the text begins or ends with
    them: elsewhere they may be what the text is about.
    """
    if "Human:" in text or "Assistant:" in text:
        mark = next((mark for mark in _DIALOGUE_MARKS if mark in text), None)
        if mark is not None:
            return mark.strip()
    if not any(sign in text for sign in _TOKEN_SIGNS):
        return None
    bare = text.strip()
    for family in TOKEN_FAMILIES:
        headers = list(family.header.finditer(bare)) if any(mark in bare for mark in family.marks) else []
        ended = any(end in bare for end in family.ends)
        begins = bool(headers) and family.header.match(_after_starts(bare, family)) is not None
        if (begins and ended) or (len(headers) > 1 and (begins or headers[-1].end() == len(bare))):
            return headers[0][0].strip()
    return None


def _after_starts(text: str, family: Family) -> str:
    while start := next((each for each in family.starts if text.startswith(each)), None):
        text = text[len(start) :].lstrip()
    return text


def _without_end(text: str, family: Family) -> str:
    bare = text.rstrip()
    end = next((each for each in family.ends if bare.endswith(each)), None)
    if end is not None:
        text = bare[: -len(end)]
    return text.strip() if family.trimmed else text


def _with_system(turns: list[Message], family: Family) -> list[Message]:
    """Return the turns with Llama 2's system text, which stands within the first one, as a message."""
    system = _SYSTEM.match(turns[0]["content"]) if family.name == "Llama 2" and turns else None
    if system is None:
        return turns
    rest = turns[0]["content"][system.end() :]
    return [{"role": "system", "content": system[1]}, {"role": "user", "content": rest}, *turns[1:]]


def _alternate(turns: Sequence[Message], family: Family) -> bool:
    rest = turns[1:] if turns and turns[0]["role"] in ("system", "developer") else turns
    return (
        bool(rest)
        and all(turn["role"] == ("user", "assistant")[place % 2] for place, turn in enumerate(rest))
        and all(turn["content"].strip() and not _marked(turn["content"], family) for turn in turns)
    )


def _marked(text: str, family: Family) -> bool:
    """Say whether a turn's text has marks: those of its own family, and those that only templates write."""
    return any(mark in text for mark in (*family.marks, *family.ends)) or looks_written(text) is not None

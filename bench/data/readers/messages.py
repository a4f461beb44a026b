"""Messages of dialogues in other tools' spellings, and the end of the prompt that two dialogues share."""

import re
from collections.abc import Mapping, Sequence

from bench.data.row_errors import RowError, shorten, type_name
from bench.data.rows import Message, encodable, message, refuse_more_than_words, shared_length
from bench.data.template_text import written_dialogue

# What ShareGPT's exports and the tools that read them call the two sides.
_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
}
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")


def turn(value: object, name: str) -> Message:
    """Return one turn, {role, content} or {from, value}. Raises RowError."""
    if not isinstance(value, dict) or "from" not in value:
        return message(value, name)
    speaker, content = value["from"], value.get("value")
    if not isinstance(speaker, str) or speaker not in _SPEAKERS:
        known = ", ".join(_SPEAKERS)
        raise RowError(f"field '{name}.from': {shorten(speaker)} is no speaker of a dialogue", fix=f"known: {known}")
    if not isinstance(content, str):
        raise RowError(
            f"field '{name}.value': {shorten(content)} is {type_name(content)}",
            fix="write the turn's text as one string",
        )
    refuse_more_than_words(value, name, words=("from", "value"))
    return {"role": _SPEAKERS[speaker], "content": encodable(content, f"{name}.value")}


def turns(value: object, name: str) -> tuple[Message, ...]:
    """Return a list of at least one turn. Raises RowError."""
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else type_name(value)
        raise RowError(f"field '{name}': {shorten(value)} is {what}", fix="write a list of messages")
    return tuple(turn(each, f"{name}[{index}]") for index, each in enumerate(value))


def prompt_and_answer(dialogue: Sequence[Message], name: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return (the turns before the last, the last one), which must be the assistant's. Raises RowError."""
    if len(dialogue) < 2 or dialogue[-1]["role"] != "assistant":
        roles = ", ".join(each["role"] for each in dialogue)
        raise RowError(
            f"field '{name}': its messages are of {roles}, where an answer of the assistant has to be last",
            fix="end the messages with the assistant's answer, after at least one turn of the user",
        )
    return tuple(dialogue[:-1]), (dialogue[-1],)


def question_after(earlier: Sequence[Message], question: str) -> tuple[Message, ...]:
    """Return a prompt that ends with a question."""
    return (*earlier, {"role": "user", "content": question})


def history_of(fields: Mapping[str, object]) -> tuple[Message, ...]:
    """Return the earlier turns, a list of [question, answer], which may be absent, null or empty. Raises RowError."""
    value = fields.get("history")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(content, str) for content in pair)
        for pair in value
    ):
        raise RowError(f"field 'history': {shorten(value)} is no list of [question, answer]", fix='write [["…", "…"]]')
    return tuple(
        {"role": role, "content": encodable(content, f"history[{index}]")}
        for index, pair in enumerate(value)
        for role, content in zip(("user", "assistant"), pair, strict=True)
    )


def optional(fields: Mapping[str, object], name: str) -> str:
    """Return a field that may be absent, null or empty, else a string. Raises RowError."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"field '{name}': {shorten(value)} is {type_name(value)}", fix="write a string, or leave it out")
    return encodable(value, name)


def line_ends(text: str) -> str:
    """Return a dialogue in text with the line ends that its marks are known by: CR LF is of a file, not of words."""
    return text.replace("\r\n", "\n")


def prompt_end(dialogues: Sequence[str], names: Sequence[str]) -> int:
    """Return where the prompt ends in dialogues in text: behind the last «\\n\\nAssistant:» of their common start.

    In dialogues with other marks, such as «## Human:», behind the assistant's last one.

    The longest common start itself would cut two answers in the middle of the words that they begin with.

    Raises RowError where the dialogues have no such turn in common.
    """
    first, last = min(dialogues), max(dialogues)
    common = shared_length(first, last)
    # Dialogues that are equal, or of which one begins the other, still part at an answer's start.
    place = first.rfind(ASSISTANT, 0, common)
    if place < 0 and (end := _other_end(first, common)):
        return end
    if place < 0:
        fields = " and ".join(f"'{name}'" for name in names)
        raise RowError(
            f"fields {fields}: {shorten(first)} and {shorten(last)} have no «\\n\\nAssistant:» in common, "
            "so it is unknown where the prompt ends",
            fix="give the prompt in a column of its own (prompt, chosen, rejected)",
        )
    return place + len(ASSISTANT)


def _other_end(text: str, common: int) -> int:
    dialogue = written_dialogue(text)
    if dialogue is None:
        return 0
    headers = dialogue.family.header.finditer(text, 0, common)
    return max((each.end() for each in headers if dialogue.family.roles[each[1]] == "assistant"), default=0)


def dialogue_of(text: str, name: str) -> tuple[Message, ...]:
    """Return the turns of «\\n\\nHuman: … \\n\\nAssistant: …», white space around them left out.

    Raises RowError for text before the first turn, and for two turns of one side in a row.
    """
    before, *parts = _TURN.split(text if text.startswith("\n\n") else "\n\n" + text.lstrip())
    if before.strip() or not parts:
        raise RowError(
            f"field '{name}': {shorten(text)} does not begin with «\\n\\nHuman:»",
            fix="write dialogues as «\\n\\nHuman: … \\n\\nAssistant: …», or as lists of messages",
        )
    messages: list[Message] = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        if messages and messages[-1]["role"] == role:
            raise RowError(
                f"field '{name}': two turns of {speaker} stand in a row, the second is {shorten(content.strip())}",
                fix="join the two; --set data.drop_faulty=true leaves such rows out, --set data.form=text reads them",
            )
        messages.append({"role": role, "content": encodable(content.strip(), name)})
    return tuple(messages)

"""Columns that change what a row says: a row in which one of them is left unread is refused."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.data.column_account import is_empty
from bench.data.row_errors import RowError, shorten

if TYPE_CHECKING:
    from bench.data.rows import Text

_KINDS: dict[str, str] = {
    "media": "objects pixel_values frames",
    "tools": "tool tools function functions function_call function_calls tool_call tool_calls tool_call_id tool_choice "
    "available_tools available_functions tool_definitions api_definitions",
    "template": "chat_template chat_template_kwargs template_kwargs",
    "context": "context contexts input inputs instruction prompt passage passages document documents docs article "
    "background schema system_context reference_documents retrieved_documents retrieved_context retrieved_contexts "
    "additional_context prefill assistant_prefill response_prefix answer_prefix initial_reason_steps",
    "turns": "history chat_history conversation_history dialog_history dialogue_history message_history "
    "previous_turns previous_messages context_messages messages conversations conversation",
    "system": "sys system system_prompt system_message system_msg system_text system_instruction system_instructions "
    "sys_prompt custom_system_prompt developer developer_prompt developer_message",
    "verdict": "winner verdict preferred preference human_preference overall_preference label labels better choice "
    "vote tie is_tie",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_MEDIA = frozenset(
    ["image", "images", "img", "picture", "pictures", "photo", "photos", "video", "videos", "audio", "audios", "speech"]
)
_NEVER_READ = frozenset(("media", "tools", "template"))
_OF_MESSAGES = frozenset(("name", "reasoning", "reasoning_content", "thinking", "refusal", "prefix"))
_USERS = frozenset(("user", "human", "system", "developer"))
LONGEST_CODE = 40
"""Characters of the longest verdict: longer texts beside a pair give reasons for it."""
SURELY_QUOTED = 40
"""Characters of a text that stands in another one by no accident."""
_DROP = "--set data.drop_faulty=true leaves such rows out"


@lru_cache(maxsize=4096)
def guard_of(name: str) -> str:
    """Return in which way a column of that name changes what a row says; empty for all others.

    Spelling does not matter: «chatHistory», «Chat-History» and «chat_history» are one name.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).strip("_").lower()
    if words in _KIND_OF:
        return _KIND_OF[words]
    parts = words.split("_")
    if _MEDIA.intersection(parts):
        return "media"
    return "verdict" if parts[-1] in ("winner", "verdict") or parts[0] == "winner" else ""


@lru_cache(maxsize=1024)
def guarded(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (column, kind) of those columns of a table that change what its rows say."""
    return tuple((name, kind) for name in names if (kind := guard_of(name)))


def changes_a_message(name: str) -> bool:
    """Say whether a message's field of that name is part of what the message says."""
    return name in _OF_MESSAGES or guard_of(name) in ("media", "tools", "template")


def refuse_never_read(fields: Mapping[str, object], names: Iterable[tuple[str, str]]) -> None:
    """Raise RowError for pictures, sounds, tools and settings of templates, which no format reads."""
    for name, kind in names:
        if kind in _NEVER_READ and _says_more(fields[name], kind):
            raise RowError(
                f"field '{name}': {shorten(fields[name])} would be left out, since only text is compared here",
                fix=f"give rows that are text alone; {_DROP}; {_ignore(name)}",
                kind=f"with '{name}'",
            )


def refuse_unread(
    fields: Mapping[str, object], names: Iterable[tuple[str, str]], *, read: Collection[str], prompt: "Text"
) -> None:
    """Raise RowError for a column that would change the row, that nothing read, and whose text is not in the prompt.

    Args:
        names: (column, kind) of the guarded ones, as ``guarded`` gives them.
        read: the columns that the reader took.
    """
    for name, kind in names:
        if kind in _NEVER_READ or name in read or not _says_more(fields[name], kind):
            continue
        if kind != "verdict" and _stands_in(fields[name], prompt):
            continue
        what, fix = _ADVICE[kind]
        raise RowError(
            f"field '{name}': {shorten(fields[name])} would be left out, but {what}",
            fix=f"{fix.format(name=name)}; {_ignore(name)}; {_DROP}",
            kind=f"with '{name}'",
        )


_ADVICE = {
    "context": (
        "the prompt does not have it",
        "write it into the prompt (`instruction` and `input` are joined where there is no `prompt`)",
    ),
    "turns": ("the prompt does not have these turns", "write the prompt as messages that begin with them"),
    "system": (
        "it looks like a system text",
        "--columns system={name} makes it the system message; a table may have one",
    ),
    "verdict": (
        "it may say which answer is preferred, and the row says that already",
        "compare it with the preferred answers, and correct the rows where they differ",
    ),
}


def _ignore(name: str) -> str:
    return f"--set data.ignore={name} if rows are complete without it"


def _says_more(value: object, kind: str) -> bool:
    if is_empty(value):
        return False
    if kind == "verdict":
        # A long text, or a list of them, is a reason.
        return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value.strip()) <= LONGEST_CODE)
    # Numbers and booleans count or name what stands elsewhere: num_images, context: 3.
    return not isinstance(value, bool | int | float)


def _stands_in(value: object, prompt: "Text") -> bool:
    """Say whether all of a column's text is in the prompt (of messages and pairs what the user's side says)."""
    texts = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]
    whole = evened = ""
    for text in _texts(value):
        if text in texts:
            continue
        whole = whole or "\n".join(["", *texts, ""])
        # A word or two may be anywhere: they must have lines of their own.
        if f"\n{text.strip()}\n" in whole:
            continue
        evened = evened or " ".join(whole.split())
        if len(text) < SURELY_QUOTED or " ".join(text.split()) not in evened:
            return False
    return True


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a value; of messages those of the user's side alone, since the last answer is no prompt."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        speaker = value.get("role", value.get("from"))
        if isinstance(speaker, str):
            if speaker in _USERS:
                yield from _texts(value.get("content", value.get("value")))
        elif {"input", "output"} <= value.keys():
            yield from _texts(value["input"])
        else:
            for each in value.values():
                yield from _texts(each)
    elif value is not None:
        yield str(value)

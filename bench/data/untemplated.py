"""Rows whose prompt a template has written out already: taken apart into turns, or refused."""

from dataclasses import replace
from typing import Literal

from bench.data.filters import PreferenceRow
from bench.data.row_errors import RowError, shorten
from bench.data.rows import Message, Pair, Text, completions_of
from bench.data.template_text import (
    WORD_FAMILIES,
    WrittenDialogue,
    has_signs,
    looks_written,
    written_answer,
    written_dialogue,
)

AROUND = 40
"""Characters that an error shows behind a mark."""
TEMPLATED = "with a template in the text"


def untemplated(row: PreferenceRow, form: Literal["auto", "messages", "text"]) -> PreferenceRow:
    """Return the row with a prompt that a template wrote as the turns that it says; others as they are.

    Only rows that become messages, since a template would be written around them again: with ``form="text"``, and of
    strings with "auto", texts are trained as they stand.

    Raises:
        RowError: a text with a template's marks whose turns are in doubt.
    """
    if form == "text" or (form == "auto" and isinstance(row.prompt, str)):
        return row
    texts = {"prompt": row.prompt, **completions_of(row)}
    if not has_signs("\n".join([content for text in texts.values() for content in _contents(text)])):
        return row
    dialogue = dialogue_in(row.prompt)
    if dialogue is None:
        for name, text in texts.items():
            _refuse(name, text)
        return row
    answers: dict[str, tuple[Message, ...]] = {}
    for name, text in completions_of(row).items():
        words = written_answer(_single(text), dialogue.family, waiting=dialogue.waiting)
        if words is None or not words.strip():
            mark = next((mark for mark in (*dialogue.family.marks, *dialogue.family.ends) if mark in _single(text)), "")
            raise _doubt(name, _single(text), mark or dialogue.family.name)
        answers[name] = ({"role": "assistant", "content": words},)
    return _with_texts(row, dialogue.turns, answers)


def dialogue_in(prompt: Text) -> WrittenDialogue | None:
    """Return the dialogue that a template wrote into a prompt: a string, or the user's only message.

    Turns that begin with words are certain only where the assistant's mark ends them.
    """
    if not isinstance(prompt, str) and (len(prompt) != 1 or prompt[0]["role"] != "user"):
        return None
    dialogue = written_dialogue(_single(prompt))
    if dialogue is None or dialogue.turns[-1]["role"] != "user":
        return None
    return None if dialogue.family in WORD_FAMILIES and not dialogue.waiting else dialogue


def _contents(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else [turn["content"] for turn in text]


def _refuse(name: str, text: Text) -> None:
    for content in _contents(text):
        mark = looks_written(content)
        if mark is not None:
            raise _doubt(name, content, mark)


def _doubt(name: str, text: str, mark: str) -> RowError:
    place = max(text.find(mark), 0)
    return RowError(
        f"field '{name}': the text has {mark!r}, a mark of a chat template, so it would be templated twice, and its "
        f"turns cannot be told apart with certainty: {shorten(text[place : place + AROUND])}",
        fix="write the turns as messages, or take the marks out; --set data.form=text trains the text as it stands, "
        "--set data.drop_faulty=true leaves such rows out",
        kind=TEMPLATED,
    )


def _single(text: Text) -> str:
    return text if isinstance(text, str) else text[0]["content"]


def _with_texts(
    row: PreferenceRow, prompt: tuple[Message, ...], answers: dict[str, tuple[Message, ...]]
) -> PreferenceRow:
    if isinstance(row, Pair):
        return replace(row, prompt=prompt, chosen=answers["chosen"], rejected=answers["rejected"])
    return replace(row, prompt=prompt, completion=answers["completion"])

"""System text in a column beside the turns: it becomes the first message of the prompt, or the row is refused."""

from collections.abc import Mapping
from dataclasses import replace

from bench.core.data_options import DataOptions
from bench.data.filters import PreferenceRow, in_form
from bench.data.readers.messages import optional
from bench.data.row_errors import RowError, shorten
from bench.data.rows import Message

COLUMNS = ("system", "system_prompt")
"""What the column is called: nearly everywhere, and by distilabel."""
ROLES = ("system", "developer")
_NOTHING: tuple[object, ...] = (None, "", [], {})


def with_system(example: PreferenceRow, fields: Mapping[str, object], options: DataOptions) -> PreferenceRow:
    """Return the row in the form that ``options`` ask for, begun with the system text of its columns, if there is one.

    Messages of a single turn that are to be text get it above the question, as every system message is written there.

    Raises:
        RowError: a system text beside a prompt that stays one string, or beside another system message.
    """
    return begun_with(example, *_system_of(fields), options)


def begun_with(example: PreferenceRow, name: str, text: str, options: DataOptions) -> PreferenceRow:
    """Return the row in the form that ``options`` ask for, begun with a system text of the field ``name``.

    Raises RowError as ``with_system``.
    """
    if not text:
        return in_form(example, options.form)
    turned = in_form(example, "messages") if options.form == "messages" else example
    if isinstance(turned.prompt, str):
        raise RowError(
            f"field '{name}': {shorten(text)} would be left out, since the prompt is one string here",
            fix="use a model with a chat template and not data.form=text (--set data.form=messages makes turns of "
            "strings anywhere), or write the text into the prompt and leave the column out; "
            "--set data.drop_faulty=true leaves such rows out",
        )
    begun = replace(turned, prompt=_begun(turned.prompt, name, text))
    return in_form(begun, options.form)


def _system_of(fields: Mapping[str, object]) -> tuple[str, str]:
    """Return the column and its text; no text where every column is absent, null or blank. Raises RowError for two."""
    stated = [name for name in COLUMNS if fields.get(name) not in _NOTHING]
    texts = [(name, text) for name in stated if (text := optional(fields, name)).strip()]
    if not texts:
        return COLUMNS[0], ""
    other = next(((name, text) for name, text in texts if text != texts[0][1]), None)
    if other is not None:
        raise RowError(
            f"fields '{texts[0][0]}' and '{other[0]}' are two system texts: {shorten(texts[0][1])} and "
            f"{shorten(other[1])}",
            fix="leave one of the columns out",
        )
    return texts[0]


def _begun(prompt: tuple[Message, ...], name: str, text: str) -> tuple[Message, ...]:
    first = prompt[0]
    if first["role"] not in ROLES:
        return ({"role": "system", "content": text}, *prompt)
    if first["content"] == text:
        return prompt
    raise RowError(
        f"field '{name}': {shorten(text)} stands beside a dialogue that begins with another {first['role']} message, "
        f"{shorten(first['content'])}",
        fix="leave out the column or the message; --set data.drop_faulty=true leaves such rows out",
    )

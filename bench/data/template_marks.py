"""Marks of well-known chat templates in texts, where the model reads them as plain words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.core.artifacts import Note
from bench.data.filters import PreferenceRow
from bench.data.preferences import Preferences
from bench.data.row_errors import shorten
from bench.data.rows import Pair, Text
from bench.data.untemplated import dialogue_in

MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|START_OF_TURN_TOKEN|>",
    "<|user|>",
    "<|assistant|>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "### Instruction:",
    "### Response:",
    "### Human:",
    "### Assistant:",
    "\n\nHuman:",
    "\n\nAssistant:",
)
"""What the templates of Qwen, Llama, Gemma, Command R, Zephyr, Phi, DeepSeek, Mistral, Alpaca and Vicuna write, and the
dialogues of HH-RLHF."""
Bits = Sequence[int] | NDArray[np.generic]
AROUND = 30
"""Characters that an example shows behind its mark."""


@dataclass(frozen=True, kw_only=True)
class TemplateMarks:
    """How many rows contain marks of chat templates, how many contain each, and where the first one stands.

    ``written`` rows have a prompt that is nothing but turns between marks: a model with a chat template gets the turns.
    """

    rows: int = 0
    written: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)
    first: str | None = None


def count_marks(rows: Sequence[PreferenceRow]) -> TemplateMarks:
    """Count the rows whose prompt or answers contain marks of chat templates as text."""
    return marks_of(rows, [mark_bits(row) for row in rows])


def mark_bits(row: PreferenceRow) -> int:
    """Return which of ``MARKS`` a row's texts contain, a bit each."""
    joined = "\0".join(text for _, text in _texts(row))
    return sum(1 << place for place, mark in enumerate(MARKS) if mark in joined)


def marks_of(rows: Sequence[PreferenceRow], bits: Bits) -> TemplateMarks:
    """Return what ``count_marks`` returns, from the ``mark_bits`` of each row."""
    present = np.asarray(bits, dtype=np.int64)
    marked = np.flatnonzero(present)
    if not len(marked):
        return TemplateMarks()
    counts = {mark: int((present >> place & 1).sum()) for place, mark in enumerate(MARKS)}
    return TemplateMarks(
        rows=len(marked),
        marks={mark.strip(): count for mark, count in counts.items() if count},
        written=sum(dialogue_in(rows[place].prompt) is not None for place in marked.tolist()),
        first=_first_in(rows[int(marked[0])]),
    )


def _first_in(row: PreferenceRow) -> str:
    """Return where a row's first text with a mark has its first one."""
    for field_name, text in _texts(row):
        places = [place for mark in MARKS if (place := text.find(mark)) >= 0]
        if places:
            return f"row {row.id}, field '{field_name}': {shorten(text[min(places) : min(places) + AROUND])}"
    return ""


def report_marks(preferences: Preferences, *, note: Note, bits: Bits | None = None) -> None:
    """Report texts that contain marks of chat templates, which the model reads as plain words; else report nothing.

    Args:
        bits: the ``mark_bits`` of each row, where they are known.
    """
    counted = count_marks(preferences.rows) if bits is None else marks_of(preferences.rows, bits)
    if counted.rows:
        whole = f" ({counted.written} prompts are whole templates)" if counted.written else ""
        note(
            f"{preferences.source}: {counted.rows} of {len(preferences.rows)} rows contain marks of a chat template in "
            f"their text ({', '.join(counted.marks)}); they are encoded as they stand{whole}. First: {counted.first}"
        )


def _texts(row: PreferenceRow) -> Iterator[tuple[str, str]]:
    for name in ("prompt", "chosen", "rejected") if isinstance(row, Pair) else ("prompt", "completion"):
        value: Text = getattr(row, name)
        yield from ((name, text) for text in ([value] if isinstance(value, str) else (m["content"] for m in value)))

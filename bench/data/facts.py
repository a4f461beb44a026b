"""What a data card needs of each row, in arrays: lengths, digests, margins, turns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import cached
from bench.data.crew import crew_size, in_order
from bench.data.digests import Digests, digests
from bench.data.filters import PreferenceRow, answers, content_key, margin, plain_text
from bench.data.near_duplicates import WORD, words
from bench.data.rows import Pair, Text
from bench.data.stored_rows import RowChunk, StoredRows
from bench.data.template_marks import mark_bits
from bench.data.watch import watched

MANY_TURNS = 4
_SYSTEM = 100
Column = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Arrays with an entry a row. ``characters`` and ``words`` are by (row, field): the prompt, then each answer.

    ``prompt``, ``content``: digests of what the prompt says, and of prompt and answers. ``order``, ``opposite``: of the
    prompt with its answers as they are preferred, and the other way round. ``margin``: NaN where there are no scores.
    ``label``: of single completions, True for pairs. ``turns``: a code that ``turns_named`` reads. ``marks``: marks of
    chat templates, a bit each.
    """

    characters: NDArray[np.int32]
    words: NDArray[np.int32]
    prompt: Digests
    content: Digests
    order: Digests
    opposite: Digests
    margin: NDArray[np.float64]
    label: NDArray[np.bool_]
    turns: NDArray[np.int16]
    marks: NDArray[np.int64]

    def columns(self) -> dict[str, Column]:
        """Return the arrays by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def take(self, places: NDArray[np.int64]) -> "Facts":
        """Return those of the rows at these places."""
        return Facts(**{each.name: getattr(self, each.name)[places] for each in fields(self)})


def facts_of(rows: Sequence[PreferenceRow]) -> Facts:
    """Return what is known of each row; of rows on disk it is kept there too."""
    if not isinstance(rows, StoredRows):
        return _facts(rows)
    whole = StoredRows(rows.folder)
    folder = cached("facts", [rows.kind, whole.content_hash(rows.kind)], lambda partial: _write(whole, partial))
    facts = Facts(**{each.name: np.load(folder / f"{each.name}.npy", mmap_mode="r") for each in fields(Facts)})
    return facts if rows.places is None else facts.take(rows.places)


def turns_named(code: int) -> str:
    """Return the words for a code of ``turns``."""
    if code == 0:
        return "plain text"
    questions = code % _SYSTEM - 1
    system = " and a system message" if code >= _SYSTEM else ""
    count = str(questions) if questions < MANY_TURNS else f"{MANY_TURNS} or more"
    return f"{count} turn{'s' if questions > 1 else ''} of the user{system}"


def _facts(rows: Sequence[PreferenceRow]) -> Facts:
    texts = [(plain_text(row.prompt), *answers(row)) for row in rows]
    orders = [_orders(row, each) for row, each in zip(rows, texts, strict=True)]
    gaps = map(margin, rows)
    return Facts(
        characters=_table(texts, len),
        words=_table(texts, _words),
        prompt=digests(_bytes(prompt) for prompt, *_ in texts),
        content=digests(content_key(row).encode() for row in rows),
        order=digests(own for own, _ in orders),
        opposite=digests(other for _, other in orders),
        margin=np.array([np.nan if gap is None else gap for gap in gaps], dtype=np.float64),
        label=np.array([isinstance(row, Pair) or row.label for row in rows], dtype=bool),
        turns=np.array([_turns(row.prompt) for row in rows], dtype=np.int16),
        marks=np.array([mark_bits(row) for row in rows], dtype=np.int64),
    )


def _write(rows: StoredRows, folder: Path) -> None:
    columns: dict[str, list[Column]] = {}
    for facts in _in_parts(rows):
        for name, column in facts.columns().items():
            columns.setdefault(name, []).append(column)
    for name, several in columns.items():
        np.save(folder / f"{name}.npy", np.concatenate(several))


def _in_parts(rows: StoredRows) -> Iterator[Facts]:
    with watched("counting", total=len(rows)) as progress:
        for facts in in_order(_facts_of_chunk, None, rows.chunks(), processes=crew_size()):
            progress.advance(len(facts.label))
            yield facts


def _facts_of_chunk(job: None, chunk: RowChunk) -> Facts:
    return _facts(chunk.rows())


def _table(texts: Sequence[tuple[str, ...]], count: Callable[[str], int]) -> NDArray[np.int32]:
    width = len(texts[0]) if texts else 0
    return np.array([list(map(count, each)) for each in texts], dtype=np.int32).reshape(len(texts), width)


def _words(text: str) -> int:
    # Case and white space make no other words of ASCII.
    return len(WORD.findall(text)) if text.isascii() else len(words(text))


def _orders(row: PreferenceRow, texts: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return what a row says, and what one that contradicts it says."""
    if isinstance(row, Pair):
        prompt, chosen, rejected = map(_bytes, texts)
        return b"\0".join((prompt, chosen, rejected)), b"\0".join((prompt, rejected, chosen))
    prompt, answer = map(_bytes, texts)
    return b"\0".join((prompt, answer, b"%d" % row.label)), b"\0".join((prompt, answer, b"%d" % (not row.label)))


def _bytes(text: str) -> bytes:
    # The length keeps apart texts that are the same when they are written one after another.
    return b"%d:" % len(text) + text.encode("utf-8", "surrogatepass")


def _turns(prompt: Text) -> int:
    if isinstance(prompt, str):
        return 0
    questions = min(MANY_TURNS, sum(each["role"] == "user" for each in prompt))
    return questions + 1 + _SYSTEM * (prompt[0]["role"] in ("system", "developer"))

"""Preference data as token ids: rows, their hash, and pairs split into single completions."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.rows import Kind
from bench.errors import UsageError

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EncodedPair:
    """A preference in token ids. ``score_gap`` is the chosen score less the rejected one, None where there is none.

    ``group`` numbers the distinct prompts: rows of one prompt, and only they, share it.
    """

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids
    score_gap: float | None
    group: int


@dataclass(frozen=True, kw_only=True)
class EncodedSingle:
    """One completion in token ids. ``pair`` is the index of the pair that it was taken from, None if from none."""

    prompt_ids: Ids
    completion_ids: Ids
    desirable: bool
    group: int
    pair: int | None = None


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A data set in token ids; ``content_hash`` is the SHA-256 of kind and rows, in order."""

    kind: Kind
    rows: tuple[EncodedPair, ...] | tuple[EncodedSingle, ...]
    eos_id: int
    pad_id: int
    content_hash: str

    @property
    def pairs(self) -> tuple[EncodedPair, ...]:
        """The rows, known to be pairs. Raises UsageError where they are not."""
        rows = tuple(row for row in self.rows if isinstance(row, EncodedPair))
        if len(rows) < len(self.rows):
            raise UsageError("the data is unpaired, and pairs are needed", fix="give prompt, chosen, rejected")
        return rows

    @property
    def singles(self) -> tuple[EncodedSingle, ...]:
        """The rows, known to be single completions. Raises UsageError where they are not."""
        rows = tuple(row for row in self.rows if isinstance(row, EncodedSingle))
        if len(rows) < len(self.rows):
            raise UsageError("the data is pairs, and single completions are needed", fix="take it apart with unpair()")
        return rows


def encoded_of(rows: Sequence[EncodedPair | EncodedSingle], *, kind: Kind, eos_id: int, pad_id: int) -> Encoded:
    """Return ``Encoded`` of rows of one kind, with their hash."""
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        if isinstance(row, EncodedPair):
            parts, target = (row.prompt_ids, row.chosen_ids, row.rejected_ids), repr(row.score_gap)
        else:
            parts, target = (row.prompt_ids, row.completion_ids, ()), repr(row.desirable)
        # The lengths keep apart rows whose ids, written one after another, are the same.
        numbers = [*map(len, parts), *(token for part in parts for token in part)]
        digest.update(np.asarray(numbers, dtype="<i8").tobytes() + target.encode())
    return Encoded(
        kind=kind,
        rows=tuple(pairs_in(rows)) if kind == "pairs" else tuple(singles_in(rows)),
        eos_id=eos_id,
        pad_id=pad_id,
        content_hash=digest.hexdigest(),
    )


def unpair(encoded: Encoded) -> Encoded:
    """Take each pair apart into a desirable and an undesirable completion, side by side.

    Rows are chosen_0, rejected_0, chosen_1, …, so pair i is rows 2i and 2i + 1: a batch drawn by pairs holds both
    labels in equal number, whatever its size. Raises UsageError where the rows are unpaired already.
    """
    rows = [single for index, pair in enumerate(encoded.pairs) for single in singles_of(pair, pair=index)]
    return encoded_of(rows, kind="unpaired", eos_id=encoded.eos_id, pad_id=encoded.pad_id)


def singles_of(row: EncodedPair, *, pair: int) -> tuple[EncodedSingle, EncodedSingle]:
    """Take the pair with the index ``pair`` apart: what was chosen is desirable, the other one not."""
    chosen, rejected = (
        EncodedSingle(prompt_ids=row.prompt_ids, completion_ids=ids, desirable=desirable, group=row.group, pair=pair)
        for ids, desirable in ((row.chosen_ids, True), (row.rejected_ids, False))
    )
    return chosen, rejected


def pairs_in(rows: Iterable[EncodedPair | EncodedSingle]) -> list[EncodedPair]:
    """Return the rows that are pairs; data are all of one kind, so these are all or none."""
    return [row for row in rows if isinstance(row, EncodedPair)]


def singles_in(rows: Iterable[EncodedPair | EncodedSingle]) -> list[EncodedSingle]:
    """Return the rows that are single completions; data are all of one kind, so these are all or none."""
    return [row for row in rows if isinstance(row, EncodedSingle)]

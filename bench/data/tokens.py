"""Preference data as token ids: rows, their hash, and pairs split into single completions."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast, overload

import numpy as np
from numpy.typing import NDArray

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
    """A data set in token ids; ``content_hash`` is the SHA-256 of kind and rows, in order.

    Rows of large data lie on disk (``bench.data.stored_tokens``) and are objects only while they are used; what is
    needed of all of them at once are arrays: ``lengths``, ``groups``, ``score_gaps``, ``labels``.
    """

    kind: Kind
    rows: Sequence[EncodedPair | EncodedSingle]
    eos_id: int
    pad_id: int
    content_hash: str

    @property
    def width(self) -> int:
        """Completions of a row."""
        return 2 if self.kind == "pairs" else 1

    @property
    def pairs(self) -> Sequence[EncodedPair]:
        """The rows, known to be pairs. Raises UsageError where they are not."""
        if self.kind != "pairs":
            raise UsageError("the data is unpaired, and pairs are needed", fix="give prompt, chosen, rejected")
        return cast(Sequence[EncodedPair], self.rows)

    @property
    def singles(self) -> Sequence[EncodedSingle]:
        """The rows, known to be single completions. Raises UsageError where they are not."""
        if self.kind != "unpaired":
            raise UsageError("the data is pairs, and single completions are needed", fix="take it apart with unpair()")
        return cast(Sequence[EncodedSingle], self.rows)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row: prompt, chosen, rejected, or prompt, completion."""
        own: NDArray[np.int64] | None = getattr(self.rows, "lengths", None)
        if own is not None:
            return own
        each = [tuple(map(len, parts_of(row))) for row in self.rows]
        return np.array(each, dtype=np.int64).reshape(len(each), 3 if self.kind == "pairs" else 2)

    @cached_property
    def score_gaps(self) -> NDArray[np.float64]:
        """The difference of each pair's scores, NaN where there is none."""
        own: NDArray[np.float64] | None = getattr(self.rows, "score_gap", None)
        if own is not None:
            return own
        gaps = (np.nan if pair.score_gap is None else pair.score_gap for pair in self.pairs)
        return np.fromiter(gaps, dtype=np.float64, count=len(self.rows))

    @cached_property
    def labels(self) -> NDArray[np.bool_]:
        """Whether each single completion is desirable."""
        own: NDArray[np.bool_] | None = getattr(self.rows, "desirable", None)
        if own is not None:
            return own
        return np.fromiter((single.desirable for single in self.singles), dtype=bool, count=len(self.rows))

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The number of each row's prompt."""
        own: NDArray[np.int64] | None = getattr(self.rows, "group", None)
        if own is not None:
            return own
        return np.fromiter((row.group for row in self.rows), dtype=np.int64, count=len(self.rows))


def encoded_of(rows: Sequence[EncodedPair | EncodedSingle], *, kind: Kind, eos_id: int, pad_id: int) -> Encoded:
    """Return ``Encoded`` of rows of one kind, with their hash; rows that lie on disk stay there."""
    own: Callable[[], str] | None = getattr(rows, "content_hash", None)
    if own is not None:
        return Encoded(kind=kind, rows=rows, eos_id=eos_id, pad_id=pad_id, content_hash=own())
    digest = hashlib.sha256(kind.encode())
    for row in rows:
        digest.update(row_bytes(parts_of(row), target_of(row)))
    return Encoded(
        kind=kind,
        rows=rows if isinstance(rows, Unpaired) else tuple(pairs_in(rows) if kind == "pairs" else singles_in(rows)),
        eos_id=eos_id,
        pad_id=pad_id,
        content_hash=digest.hexdigest(),
    )


def taken(encoded: Encoded, places: NDArray[np.int64]) -> Encoded:
    """Return the rows at these places (from 0), in this order; prompts keep their numbers."""
    take: Callable[[NDArray[np.int64]], Sequence[EncodedPair | EncodedSingle]] | None
    take = getattr(encoded.rows, "take", None)
    rows = [encoded.rows[place] for place in places.tolist()] if take is None else take(places)
    return encoded_of(rows, kind=encoded.kind, eos_id=encoded.eos_id, pad_id=encoded.pad_id)


def row_bytes(parts: Sequence[Sequence[int] | NDArray[np.int32]], target: float | None) -> bytes:
    """Return a row as it enters the hash: the ids of its two or three parts, and its score gap or label."""
    # The lengths keep apart rows whose ids, written one after another, are the same.
    lengths = [*map(len, parts), 0][:3]
    return np.concatenate([lengths, *parts]).astype("<i8").tobytes() + repr(target).encode()


def parts_of(row: EncodedPair | EncodedSingle) -> tuple[Ids, ...]:
    """Return a row's ids by field: the prompt, then each completion."""
    if isinstance(row, EncodedPair):
        return row.prompt_ids, row.chosen_ids, row.rejected_ids
    return row.prompt_ids, row.completion_ids


def target_of(row: EncodedPair | EncodedSingle) -> float | None:
    """Return a pair's difference of scores, None where it has none, or a single completion's label."""
    return row.score_gap if isinstance(row, EncodedPair) else row.desirable


def lacks_scores(encoded: Encoded) -> bool:
    """Say whether some pair has no scores."""
    return encoded.kind == "pairs" and bool(np.isnan(encoded.score_gaps).any())


def unpair(encoded: Encoded) -> Encoded:
    """Take each pair apart into a desirable and an undesirable completion, side by side.

    Rows are chosen_0, rejected_0, chosen_1, …, so pair i is rows 2i and 2i + 1: a batch drawn by pairs holds both
    labels in equal number, whatever its size. Raises UsageError where the rows are unpaired already.
    """
    pairs, rows = encoded.pairs, Unpaired(encoded.pairs)
    kept = tuple(rows) if isinstance(pairs, tuple) else rows
    return encoded_of(kept, kind="unpaired", eos_id=encoded.eos_id, pad_id=encoded.pad_id)


class Unpaired(Sequence[EncodedSingle]):
    """Both completions of each pair, side by side, each an object from when it is asked for."""

    def __init__(self, pairs: Sequence[EncodedPair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return 2 * len(self._pairs)

    @overload
    def __getitem__(self, place: int) -> EncodedSingle: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[EncodedSingle]: ...

    def __getitem__(self, place: int | slice) -> EncodedSingle | Sequence[EncodedSingle]:
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        index, side = divmod(range(len(self))[place], 2)
        return singles_of(self._pairs[index], pair=index)[side]


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

"""Encoded rows on disk: token ids in an Arrow file, what is needed of all rows at once in arrays beside it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from bench.data.arrow_batches import FILE, ArrowBatches
from bench.data.cache import remembered
from bench.data.digests import Digests, first_seen, ids_digests
from bench.data.rows import Kind
from bench.data.tokens import EncodedPair, EncodedSingle, Ids

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT = "tokens.json"
FIELDS: dict[Kind, tuple[str, ...]] = {"pairs": ("prompt", "chosen", "rejected"), "unpaired": ("prompt", "completion")}
NO_LIMIT = 2**40
"""Tokens that no row has: for rows as they are before anything is cut."""
Ints = NDArray[np.int64]
Item = TypeVar("Item", bound=np.generic)


@dataclass(frozen=True)
class TokenChunk:
    """Consecutive rows: the ids of each field one row after another, and ``lengths[row, field]``.

    ``columns`` are arrays of a number (or a digest) a row, by the names of ``TokenFile``.
    """

    values: list[NDArray[np.int32]]
    lengths: NDArray[np.int32]
    columns: dict[str, "NDArray[np.generic]"]


def token_chunk(
    kind: Kind,
    rows: Sequence[Sequence[Sequence[int]]],
    targets: Iterable[float | bool | None],
    columns: dict[str, "NDArray[np.generic]"] | None = None,
) -> TokenChunk:
    """Return the chunk of rows that are in memory.

    Args:
        rows: of each row the ids by field.
        targets: of each row the difference of its scores (None: it has none), or its label.
        columns: further arrays.
    """
    values = [np.fromiter(chain.from_iterable(column), dtype=np.int32) for column in zip(*rows, strict=True)]
    own: dict[str, NDArray[np.generic]] = {"prompts": ids_digests(row[0] for row in rows)}
    if kind == "pairs":
        own["score_gap"] = np.array([np.nan if each is None else each for each in targets], dtype=np.float64)
    else:
        own["desirable"] = np.array(list(targets), dtype=bool)
    return TokenChunk(values, np.array([list(map(len, row)) for row in rows], dtype=np.int32), own | (columns or {}))


class TokenFile:
    """A folder of encoded rows of any length. Arrays are mapped: what is not read is not in memory.

    ``prompts``: the digest of each prompt's ids. ``score_gap``: NaN where there is none. ``alike``: how many ids chosen
    and rejected have in common at their beginning; ``highest``: the largest id by field; ``marks``: which marks of chat
    templates the texts contain, a bit each; ``merged``: which completions a joint encoding would part elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(self._file)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder}

    @property
    def about(self) -> dict[str, object]:
        """What all rows share."""
        return self._file.about

    @property
    def kind(self) -> Kind:
        """What all rows are."""
        return "pairs" if self.about["kind"] == "pairs" else "unpaired"

    def column(self, name: str) -> "NDArray[np.generic]":
        """Return one of the arrays."""
        return cast("NDArray[np.generic]", np.load(self.folder / f"{name}.npy", mmap_mode="r"))

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each row by field."""
        return cast(NDArray[np.int32], self.column("lengths"))

    @cached_property
    def prompts(self) -> Digests:
        """The digest of each prompt."""
        return cast(Digests, self.column("prompts"))

    @cached_property
    def score_gap(self) -> NDArray[np.float64]:
        """The difference of a pair's scores."""
        return cast(NDArray[np.float64], self.column("score_gap"))

    @cached_property
    def desirable(self) -> NDArray[np.bool_]:
        """The label of a single completion."""
        return cast(NDArray[np.bool_], self.column("desirable"))

    def ids(self, row: int) -> list[NDArray[np.int32]]:
        """Return the ids of a row by field."""
        batch, place = self._file.at(row)
        return [values[offsets[place] : offsets[place + 1]] for values, offsets in self._lists(batch)]

    def batches(self) -> Iterator[tuple[int, int, list[tuple[NDArray[np.int32], Ints]]]]:
        """Yield (first row, row after the last, by field its ids and where each row begins)."""
        return ((start, end, self._lists(batch)) for start, end, batch in self._file.read())

    @cached_property
    def _file(self) -> ArrowBatches:
        return ArrowBatches(self.folder, ABOUT)

    @staticmethod
    def _lists(batch: "pa.RecordBatch") -> list[tuple[NDArray[np.int32], Ints]]:
        return [
            (column.values.to_numpy(), column.offsets.to_numpy().astype(np.int64, copy=False))
            for column in batch.columns
        ]


@dataclass
class TokenWriter:
    """Writes a ``TokenFile``, one chunk after another; ``close`` makes it whole."""

    folder: Path
    kind: Kind
    _batches: list[int] = field(default_factory=list)
    _columns: dict[str, list["NDArray[np.generic]"]] = field(default_factory=dict)

    def write(self, chunks: Iterable[TokenChunk], **about: object) -> None:
        """Write all rows. ``about``: what all of them share."""
        import pyarrow as pa

        schema = pa.schema([(name, pa.list_(pa.int32())) for name in FIELDS[self.kind]])
        with pa.OSFile(str(self.folder / FILE), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for chunk in chunks:
                lists = []
                for place, values in enumerate(chunk.values):
                    offsets = np.concatenate([[0], np.cumsum(chunk.lengths[:, place])]).astype(np.int32)
                    lists.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)))
                writer.write_batch(pa.RecordBatch.from_arrays(lists, schema=schema))
                self._batches.append(len(chunk.lengths))
                for name, column in {"lengths": chunk.lengths, **chunk.columns}.items():
                    self._columns.setdefault(name, []).append(column)
        for name, columns in self._columns.items():
            np.save(self.folder / f"{name}.npy", np.concatenate(columns))
        content = {"kind": self.kind, "batches": self._batches, **about}
        (self.folder / ABOUT).write_text(json.dumps(content) + "\n", encoding="utf-8")


class TokenRows(Sequence[EncodedPair | EncodedSingle]):
    """Rows of token files, cut to a length, each an object from when it is asked for.

    Args:
        files: where the rows lie.
        file: of each row the number of its file; None: all lie in the first.
        place: of each row its number in its file.
        group: of each row the number of its prompt.
        limit: tokens of prompt and completion together, beyond which a completion is cut.
    """

    def __init__(
        self,
        files: tuple[TokenFile, ...],
        place: Ints,
        *,
        group: Ints | None = None,
        file: Ints | None = None,
        limit: int = NO_LIMIT,
    ) -> None:
        self.files = files
        self.file = np.zeros(len(place), dtype=np.int64) if file is None else file
        self.place = place
        self.limit = limit
        self.group = first_seen(self.prompts)[0] if group is None else group

    def __len__(self) -> int:
        return len(self.place)

    @overload
    def __getitem__(self, place: int) -> EncodedPair | EncodedSingle: ...

    @overload
    def __getitem__(self, place: slice) -> "TokenRows": ...

    def __getitem__(self, place: int | slice) -> "EncodedPair | EncodedSingle | TokenRows":
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        row = range(len(self))[place]
        file = self.files[int(self.file[row])]
        where = int(self.place[row])
        prompt, *rest = (tuple(ids.tolist()) for ids in file.ids(where))
        return self._object(file, where, prompt, [ids[: self.limit - len(prompt)] for ids in rest], row)

    def take(self, places: "Ints | Sequence[int]") -> "TokenRows":
        """Return the rows at these places (from 0), in this order; prompts keep their numbers."""
        chosen = np.asarray(places, dtype=np.int64)
        return TokenRows(
            self.files, self.place[chosen], group=self.group[chosen], file=self.file[chosen], limit=self.limit
        )

    @property
    def kind(self) -> Kind:
        """What all rows are."""
        return self.files[0].kind

    @property
    def prompts(self) -> Digests:
        """The digest of each row's prompt."""
        return self._gathered([file.prompts for file in self.files])

    @property
    def lengths(self) -> Ints:
        """Tokens of each row by field, cut."""
        whole = self._gathered([file.lengths for file in self.files]).astype(np.int64)
        whole[:, 1:] = np.minimum(whole[:, 1:], self.limit - whole[:, :1])
        return whole

    @property
    def score_gap(self) -> NDArray[np.float64]:
        """The difference of each pair's scores, NaN where there is none."""
        return self._gathered([file.score_gap for file in self.files])

    @property
    def desirable(self) -> NDArray[np.bool_]:
        """The label of each single completion."""
        return self._gathered([file.desirable for file in self.files])

    def has(self, name: str) -> bool:
        """Say whether the files have an array of that name."""
        return all((file.folder / f"{name}.npy").is_file() for file in self.files)

    def column(self, name: str) -> "NDArray[np.generic]":
        """Return an array of the files, for these rows."""
        return self._gathered([file.column(name) for file in self.files])

    def content_hash(self) -> str:
        """Return the SHA-256 of kind and rows in order, as ``Encoded`` have it; remembered, since rows never change."""
        key = hashlib.sha256(self.file.tobytes() + self.place.tobytes()).hexdigest()
        names = [str(file.about["identity"]) for file in self.files]
        return remembered("hash", [self.kind, str(self.limit), key, *names], self._content_hash)

    def chunks(self) -> Iterator[TokenChunk]:
        """Yield all rows in order, some hundred at a time."""
        for number, file in enumerate(self.files):
            rows = np.flatnonzero(self.file == number)
            places = self.place[rows]
            if len(rows) and ((np.diff(places) <= 0).any() or (np.diff(rows) != 1).any()):
                raise ValueError("rows on disk are read in their order only")
            for start, end, lists in file.batches():
                first, last = np.searchsorted(places, [start, end])
                if first < last:
                    yield self._chunk(rows[first:last], places[first:last] - start, lists)

    def _chunk(self, rows: Ints, places: Ints, lists: list[tuple[NDArray[np.int32], Ints]]) -> TokenChunk:
        part = self.take(rows)
        lengths = part.lengths.astype(np.int32)
        values = []
        for column, (ids, offsets) in enumerate(lists):
            counts = lengths[:, column].astype(np.int64)
            # Where each id lies: its row's start, and its place in the row.
            before = np.cumsum(counts) - counts
            values.append(ids[np.arange(int(counts.sum())) + np.repeat(offsets[places] - before, counts)])
        columns: dict[str, NDArray[np.generic]] = {"prompts": part.prompts, "group": part.group}
        columns |= {"score_gap": part.score_gap} if self.kind == "pairs" else {"desirable": part.desirable}
        return TokenChunk(values, lengths, columns)

    def _content_hash(self) -> str:
        digest = hashlib.sha256(self.kind.encode())
        for chunk in self.chunks():
            digest.update(_hashed_bytes(chunk, self.kind))
        return digest.hexdigest()

    def _gathered(self, columns: Sequence[NDArray[Item]]) -> NDArray[Item]:
        if len(columns) == 1:
            return columns[0][self.place]
        whole = np.empty((len(self), *columns[0].shape[1:]), dtype=columns[0].dtype)
        for number, column in enumerate(columns):
            rows = self.file == number
            whole[rows] = column[self.place[rows]]
        return whole

    def _object(
        self, file: TokenFile, where: int, prompt: Ids, rest: list[Ids], row: int
    ) -> EncodedPair | EncodedSingle:
        group = int(self.group[row])
        if file.kind == "pairs":
            gap = float(file.score_gap[where])
            return EncodedPair(
                prompt_ids=prompt,
                chosen_ids=rest[0],
                rejected_ids=rest[1],
                score_gap=None if gap != gap else gap,
                group=group,
            )
        return EncodedSingle(
            prompt_ids=prompt, completion_ids=rest[0], desirable=bool(file.desirable[where]), group=group
        )


def _hashed_bytes(chunk: TokenChunk, kind: Kind) -> bytes:
    """Return rows as they enter the hash, each as ``row_bytes`` has it."""
    lengths = np.zeros((len(chunk.lengths), 3), dtype=np.int64)
    lengths[:, : chunk.lengths.shape[1]] = chunk.lengths
    sizes = 3 + lengths.sum(axis=1)
    starts = np.cumsum(sizes) - sizes
    numbers = np.empty(int(sizes.sum()), dtype="<i8")
    for place in range(3):
        numbers[starts + place] = lengths[:, place]
    for place, values in enumerate(chunk.values):
        counts = lengths[:, place]
        before = np.cumsum(counts) - counts
        own = starts + 3 + lengths[:, :place].sum(axis=1)
        numbers[np.arange(len(values)) + np.repeat(own - before, counts)] = values
    content = memoryview(numbers.tobytes())
    if kind == "pairs":
        targets = [None if gap != gap else gap for gap in chunk.columns["score_gap"].tolist()]
    else:
        targets = chunk.columns["desirable"].tolist()
    ends = ((starts + sizes) * 8).tolist()
    pieces: list[bytes | memoryview] = []
    for start, end, target in zip((starts * 8).tolist(), ends, targets, strict=True):
        pieces += [content[start:end], repr(target).encode()]
    return b"".join(pieces)

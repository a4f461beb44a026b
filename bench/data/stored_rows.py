"""Preference rows on disk: read by several processes into one Arrow file, and made into objects where they are used."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

import numpy as np
from numpy.typing import NDArray

from bench.core.data_options import DataOptions
from bench.data.arrow_batches import FILE, ArrowBatches
from bench.data.cache import cached, file_digests
from bench.data.column_account import ColumnAccount
from bench.data.crew import crew_size, in_order, parts
from bench.data.files import Raw, files_of, undecoded_rows
from bench.data.filters import PreferenceRow
from bench.data.hub import hub_files, hub_id, hub_rows
from bench.data.json_rows import Undecoded
from bench.data.reading import Begun, Part, read_part
from bench.data.row_errors import Faults, RowError
from bench.data.rows import Kind, Message, Pair, Single, Text
from bench.data.watch import watched

if TYPE_CHECKING:
    import pyarrow as pa

LARGE_BYTES = 32 * 2**20
"""Bytes of a data set's files from which on it is kept on disk: smaller ones are read before processes have started."""
PACKED = 4
"""Bytes of rows in a byte of a packed file, about."""
ROWS_AT_ONCE = 512
ABOUT = "about.json"
_OPTIONS_OF_OTHERS = {"validation", "test", "max_prompt_tokens", "max_tokens", "duplicates", "near"}
"""Options that change no row as it is read."""


@dataclass(frozen=True)
class RowChunk:
    """Consecutive rows as they lie on disk: what they say (``canonical_row``), their numbers and their files."""

    contents: list[str]
    ids: list[int]
    shards: list[str]
    agreements: list[float | None]

    def __len__(self) -> int:
        return len(self.contents)

    def rows(self) -> list[PreferenceRow]:
        """Return the rows as objects."""
        return [_row(*each) for each in zip(self.contents, self.ids, self.shards, self.agreements, strict=True)]


class StoredRows(Sequence[PreferenceRow]):
    """Rows of an Arrow file, or those of them that ``places`` number; a row is an object from when it is asked for."""

    def __init__(self, folder: Path, places: "NDArray[np.int64] | None" = None) -> None:
        self.folder = folder
        self.places = places

    def __len__(self) -> int:
        return len(self.places) if self.places is not None else len(self._file)

    @overload
    def __getitem__(self, place: int) -> PreferenceRow: ...

    @overload
    def __getitem__(self, place: slice) -> "StoredRows": ...

    def __getitem__(self, place: int | slice) -> "PreferenceRow | StoredRows":
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        place = range(len(self))[place]
        row = place if self.places is None else int(self.places[place])
        batch, at = self._file.at(row)
        return self._chunk(batch.slice(at, 1)).rows()[0]

    def __iter__(self) -> Iterator[PreferenceRow]:
        return chain.from_iterable(chunk.rows() for chunk in self.chunks())

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "places": self.places}

    def take(self, places: "NDArray[np.int64] | Sequence[int]") -> "StoredRows":
        """Return the rows at these places (from 0), in this order."""
        chosen = np.asarray(places, dtype=np.int64)
        return StoredRows(self.folder, chosen if self.places is None else self.places[chosen])

    def chunks(self) -> Iterator[RowChunk]:
        """Yield all rows in order, some hundred at a time."""
        import pyarrow as pa

        ascending = self.places is None or bool((np.diff(self.places) > 0).all())
        if not ascending:
            for some in parts(self, ROWS_AT_ONCE):
                yield _chunk_of(some)
            return
        for start, end, batch in self._file.read():
            if self.places is not None:
                ends = np.searchsorted(self.places, [start, end])
                batch = batch.take(pa.array(self.places[slice(*ends)] - start))
            if len(batch):
                yield self._chunk(batch)

    def content_hash(self, kind: Kind) -> str:
        """Return the SHA-256 of the rows in order, as ``Preferences`` have it."""
        if self.places is None and self._file.about["kind"] == kind:
            return str(self._file.about["content_hash"])
        digest = hashlib.sha256(kind.encode())
        for chunk in self.chunks():
            digest.update("".join(f"{content}\n" for content in chunk.contents).encode())
        return digest.hexdigest()

    @property
    def kind(self) -> Kind:
        """What all rows are."""
        return "pairs" if self._file.about["kind"] == "pairs" else "unpaired"

    @cached_property
    def _file(self) -> ArrowBatches:
        return ArrowBatches(self.folder, ABOUT)

    def _chunk(self, batch: "pa.RecordBatch") -> RowChunk:
        names = self._file.about["shards"]
        assert isinstance(names, list)
        contents, ids, shards, agreements = (column.to_pylist() for column in batch.columns)
        return RowChunk(contents, ids, [names[code] for code in shards], agreements)


def _chunk_of(rows: Sequence[PreferenceRow]) -> RowChunk:
    return RowChunk(
        [canonical_row(row) for row in rows],
        [row.id for row in rows],
        [row.shard for row in rows],
        [row.agreement if isinstance(row, Pair) else None for row in rows],
    )


def canonical_row(row: PreferenceRow) -> str:
    """Return all that a row says as one line of JSON: blank lines, or another container, do not make other data."""
    if isinstance(row, Pair):
        content: list[object] = [row.prompt, row.chosen, row.rejected, row.chosen_score, row.rejected_score]
    else:
        content = [row.prompt, row.completion, row.label]
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def is_large(path: Path, options: DataOptions) -> bool:
    """Say whether a data set is read into a file, and not into memory. What cannot be read is not large."""
    try:
        files = _files(path, options)
        return _unpacked_size(files) >= LARGE_BYTES
    except OSError:
        return False


def read_stored(path: Path, options: DataOptions) -> tuple[Part, StoredRows]:
    """Return the rows of a data set on disk, and what was left out or is faulty; at once where they were read before.

    Raises UsageError for a file that cannot be read as a whole.
    """
    files = _files(path, options)
    reading = options.model_dump_json(exclude=_OPTIONS_OF_OTHERS)
    names = [str(file.relative_to(path)) if path.is_dir() else file.suffix for file in files]
    hub = [str(path)] if hub_id(path) is not None else []
    folder = cached(
        "rows", [reading, *hub, *names, *file_digests(files)], lambda partial: _write(path, options, files, partial)
    )
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return _part(about["part"]), StoredRows(folder)


def _files(path: Path, options: DataOptions) -> list[Path]:
    data_set = hub_id(path)
    if data_set is not None:
        return hub_files(data_set, split=options.split, config=options.config)
    return files_of(path, split=options.split)


def _unpacked_size(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size * (PACKED if file.suffix in (".gz", ".parquet") else 1) for file in files)


def _raw(path: Path, options: DataOptions) -> Iterator[Raw]:
    data_set = hub_id(path)
    if data_set is not None:
        return hub_rows(data_set, split=options.split, config=options.config)
    return undecoded_rows(path, split=options.split)


@dataclass(frozen=True)
class _Lines:
    """A part that was read, with its rows as they are written; ``size``: bytes that its raw rows had, about."""

    chunk: RowChunk
    kinds: tuple[Kind, ...]
    part: Part
    size: int


def _read_lines(job: tuple[DataOptions, Begun], raws: Sequence[Raw]) -> _Lines:
    options, begun = job
    part = read_part(raws, options, begun)
    rows, part.rows = part.rows, []
    chunk = _chunk_of(rows)
    kinds: set[Kind] = {"pairs" if isinstance(row, Pair) else "unpaired" for row in rows}
    known = [len(raw.content) for _, _, raw in raws if isinstance(raw, Undecoded)]
    return _Lines(chunk, tuple(kinds), part, sum(known) or sum(map(len, chunk.contents)))


def _write(path: Path, options: DataOptions, files: Sequence[Path], folder: Path) -> None:
    """Read all rows into ``folder``: the first ones here, since they decide the format, the others by processes."""
    import pyarrow as pa

    schema = pa.schema(
        [("content", pa.string()), ("id", pa.int64()), ("shard", pa.int32()), ("agreement", pa.float64())]
    )
    whole, counts, shards = Part(), [], dict[str, int]()
    digest, kind, read = hashlib.sha256(), "", 0
    raws = parts(_raw(path, options), ROWS_AT_ONCE)
    size = _unpacked_size(files)
    with (
        watched("reading") as progress,
        pa.OSFile(str(folder / FILE), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for lines in _all_lines(raws, options, whole.begun):
            whole.count(lines.part)
            chunk = lines.chunk
            if len(chunk):
                if not kind:
                    kind = lines.kinds[0]
                    digest.update(kind.encode())
                digest.update("".join(f"{content}\n" for content in chunk.contents).encode())
                codes = [shards.setdefault(name, len(shards)) for name in chunk.shards]
                writer.write_batch(pa.record_batch([chunk.contents, chunk.ids, codes, chunk.agreements], schema=schema))
                counts.append(len(chunk))
            if not read:
                progress.expect(lines.part.raw * size // max(1, lines.size))
            progress.advance(lines.part.raw)
            read += lines.part.raw
    about = {
        "kind": kind,
        "content_hash": digest.hexdigest(),
        "batches": counts,
        "shards": list(shards),
        "part": _plain_part(whole),
    }
    (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")


def _all_lines(raws: Iterator[list[Raw]], options: DataOptions, begun: Begun) -> Iterator[_Lines]:
    for some in raws:
        lines = _read_lines((options, begun), some)
        begun = lines.part.begun
        yield lines
        if begun.format and begun.first is not None:
            break
    yield from in_order(_read_lines, (options, begun), raws, processes=crew_size())


def _plain_part(part: Part) -> dict[str, object]:
    return {
        "raw": part.raw,
        "accepted": part.accepted,
        "dropped": part.dropped,
        "outside": part.outside,
        "faults": [(where, fault.problem, fault.fix, fault.kind) for where, fault in part.faults.first],
        "kinds": part.faults.kinds,
        "account": {each.name: getattr(part.account, each.name) for each in fields(part.account)},
        "taken": sorted(part.taken),
        "format": part.begun.format,
    }


def _part(about: dict[str, object]) -> Part:
    faults, name, kinds, account = (about.pop(each) for each in ("faults", "format", "kinds", "account"))
    assert isinstance(faults, list)
    part = Part(**about, begun=Begun(format=name))  # type: ignore[arg-type]
    part.dropped, part.outside, part.taken = Counter(part.dropped), Counter(part.outside), set(part.taken)
    first = [(where, RowError(problem, fix=fix, kind=kind)) for where, problem, fix, kind in faults]
    part.faults = Faults(kinds=Counter(cast(dict[str, int], kinds)), first=first)
    assert isinstance(account, dict)
    counts: dict[str, Counter[str]] = {each: Counter(count) for each, count in account.items() if each != "rows"}
    part.account = ColumnAccount(rows=account["rows"], **counts)
    return part


def _text(value: str | list[dict[str, str]]) -> Text:
    if isinstance(value, str):
        return value
    messages: list[Message] = [{"role": each["role"], "content": each["content"]} for each in value]
    return tuple(messages)


def _row(content: str, number: int, shard: str, agreement: float | None) -> PreferenceRow:
    values = json.loads(content)
    if len(values) == 3:
        prompt, completion, label = values
        return Single(prompt=_text(prompt), completion=_text(completion), label=label, id=number, shard=shard)
    prompt, chosen, rejected, high, low = values
    return Pair(
        prompt=_text(prompt),
        chosen=_text(chosen),
        rejected=_text(rejected),
        chosen_score=high,
        rejected_score=low,
        agreement=agreement,
        id=number,
        shard=shard,
    )

"""Reference log-probs of training data: scored in fixed blocks, stored in parts, grown as far as trainings need them.

A block is a forward pass whose rows only data and seed decide, so its numbers are the same to the last bit whoever
computes it, when, and whatever else was scored before. Parts are folders written whole; a process that is killed loses
the seconds since its last part. Completions have numbers: of row i of pairs 2i is the chosen one, 2i + 1 the other.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.core.artifacts import silent, verify_folder, write_whole
from bench.core.manifest import is_complete
from bench.data.collate import TokenRow
from bench.errors import RunError
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import compute
from bench.utils.event_log import log_event
from bench.utils.file_lock import only_one

VERSION = 3
PART_SECONDS = 20.0
"""As much work a process may lose."""
Numbered = Sequence[tuple[int, TokenRow]]
"""Completions with their numbers; of equal ones each has its own."""


class Blocks(Protocol):
    """Completions in the blocks that they are scored in.

    The forward passes are what the layout makes of them: ``packed`` rows share their prompts.
    """

    @property
    def identity(self) -> str:
        """Name all blocks that there may be."""

    @property
    def kind(self) -> str:
        """Name what the completions' numbers count."""

    @property
    def wanted(self) -> int | None:
        """Say how many blocks are wanted, from the first on; None: all that there are."""

    def count(self, *, packed: bool) -> int:
        """Return how many blocks there are; this may look at every row."""

    def block(self, place: int, *, packed: bool) -> Numbered:
        """Return the completions of a block."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How missing blocks are computed.

    Fields:
        load: gives the reference model; called only where something is missing.
        note: gets what happens, in a few words.
        scored: gets the completions of each block once it is done.
        should_stop: asked after each block; True writes what is there and raises KeyboardInterrupt.
    """

    model_content: str
    precision: str
    layout: str
    folder: Path
    load: Callable[[], CompletionLogProbs]
    pad_id: int
    note: Callable[[str], None] = silent
    scored: Callable[[int], None] = lambda completions: None
    should_stop: Callable[[], bool] = lambda: False

    def key(self, blocks: Blocks) -> str:
        """Name blocks by what decides their numbers."""
        text = f"reference {VERSION} {self.model_content} {self.precision} {self.layout} {blocks.identity}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, order=True)
class Part:
    """Blocks ``first`` to ``last`` − 1 on disk; ``ends``: there are no blocks behind them."""

    first: int
    last: int
    ends: bool
    folder: Path


def open_parts(blocks: Blocks, scoring: Scoring) -> tuple[Path, ...]:
    """Return the folders of the parts that hold the wanted blocks, in their order, computing what is missing.

    Two processes may do so at once: each block is computed by one, and the other one waits. A part whose bytes do not
    match its manifest is made again.

    Raises:
        KeyboardInterrupt: ``should_stop``; what was computed is on disk.
    """
    key = scoring.key(blocks)
    parts = sound_parts(key, scoring)
    if _gaps(parts, blocks.wanted):
        with only_one(scoring.folder / f".{key}.lock", waits=_waiting(scoring)):
            parts = sound_parts(key, scoring)
            if _gaps(parts, blocks.wanted):
                _compute_missing(blocks, parts, key, scoring)
                parts = sound_parts(key, scoring)
    else:
        log_event("cache_hit", {"cache": "reference", "entry": key})
    wanted = blocks.wanted
    return tuple(part.folder for part in parts if wanted is None or part.first < wanted)


def missing_share(blocks: Blocks, scoring: Scoring) -> float:
    """Return the share of the wanted blocks that has to be computed; 1 also where it is not known. Changes nothing."""
    gaps = _gaps(_parts(scoring.key(blocks), scoring.folder), blocks.wanted)
    missing, wanted = 0, blocks.wanted
    for first, last in gaps:
        if last is None or wanted is None:
            return 1.0
        missing += last - first
    return missing / wanted if wanted else 0.0


def sound_parts(key: str, scoring: Scoring) -> list[Part]:
    """Return the parts of a key by their first block; remove those that are damaged, with a note."""
    sound = []
    for part in _parts(key, scoring.folder):
        problems = verify_folder(part.folder)
        if not problems:
            sound.append(part)
            continue
        log_event("cache_damaged", {"cache": "reference", "entry": part.folder.name, "problem": str(problems[0])})
        scoring.note(f"a part of the cache is damaged ({problems[0]}); it is made again")
        shutil.rmtree(part.folder, ignore_errors=True)
    return sound


def _parts(key: str, folder: Path) -> list[Part]:
    parts = []
    for path in folder.glob(f"{key}-*"):
        try:
            about = json.loads((path / "about.json").read_text(encoding="utf-8")) if is_complete(path) else None
            if about is not None:
                parts.append(Part(int(about["first"]), int(about["last"]), bool(about["ends"]), path))
        except (OSError, ValueError, KeyError, TypeError):
            # Not readable as a part: its place in the name is enough for it to be verified and removed.
            parts.append(Part(0, 0, False, path))
    return sorted(parts)


def _gaps(parts: Sequence[Part], wanted: int | None) -> list[tuple[int, int | None]]:
    """Return the spans of blocks that no part holds; the last one has no end where that is not known."""
    end = next((part.last for part in parts if part.ends), None)
    stop = end if wanted is None else wanted if end is None else min(wanted, end)
    gaps: list[tuple[int, int | None]] = []
    reached = 0
    for part in parts:
        if part.first > reached and (stop is None or reached < stop):
            gaps.append((reached, part.first if stop is None else min(part.first, stop)))
        reached = max(reached, part.last)
    if stop is None or reached < stop:
        gaps.append((reached, stop))
    return gaps


def _waiting(scoring: Scoring) -> Callable[[], None]:
    """Return what says once that another process computes, and ends the waiting where the user stops."""
    announced = False

    def waits() -> None:
        nonlocal announced
        if not announced:
            scoring.note("another process computes them")
            announced = True
        if scoring.should_stop():
            raise KeyboardInterrupt

    return waits


@dataclass(kw_only=True)
class _Unwritten:
    """Blocks that are computed and not on disk yet, from ``first`` on."""

    first: int
    values: list[Tensor] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, numbered: Numbered, model: CompletionLogProbs, scoring: Scoring) -> int:
        """Score one block; completions that are equal are scored once. Returns how many were scored."""
        distinct: dict[TokenRow, int] = {}
        for number, row in numbered:
            self.numbers.append(number)
            self.places.append(len(self.values) + distinct.setdefault(row, len(distinct)))
        rows = list(distinct)
        self.values += compute(rows, model, pad_id=scoring.pad_id, precision=scoring.precision, batch=len(rows))
        return len(rows)


def _compute_missing(blocks: Blocks, parts: Sequence[Part], key: str, scoring: Scoring) -> None:
    model = scoring.load()
    for first, last in _gaps(parts, blocks.wanted):
        count = blocks.count(packed=model.packed)
        end = count if last is None else min(last, count)
        unwritten = _Unwritten(first=first)
        for place in range(first, end):
            rows = unwritten.add(blocks.block(place, packed=model.packed), model, scoring)
            stop = scoring.should_stop()
            if stop or place + 1 == end or time.monotonic() - unwritten.started > PART_SECONDS:
                _write(unwritten, blocks, key, scoring, last=place + 1, ends=place + 1 == count)
                unwritten = _Unwritten(first=place + 1)
            scoring.scored(rows)
            if stop:
                raise KeyboardInterrupt


def _write(unwritten: _Unwritten, blocks: Blocks, key: str, scoring: Scoring, *, last: int, ends: bool) -> None:
    lengths = [len(values) for values in unwritten.values]
    tensors = {
        "values": torch.cat(unwritten.values),
        "offsets": torch.tensor([0, *lengths]).cumsum(0),
        "numbers": torch.tensor(unwritten.numbers),
        "places": torch.tensor(unwritten.places),
    }
    seconds = round(time.monotonic() - unwritten.started, 3)
    about = {
        "model": scoring.model_content,
        "precision": scoring.precision,
        "seconds": seconds,
        "kind": blocks.kind,
        "first": unwritten.first,
        "last": last,
        "ends": ends,
    }

    def write(partial: Path) -> None:
        save_file(tensors, partial / "logps.safetensors")
        (partial / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")

    folder = scoring.folder / f"{key}-{unwritten.first:06d}"
    write_whole(folder, write, stage="reference")
    log_event("cache_built", {"cache": "reference", "entry": folder.name, "rows": len(lengths), "seconds": seconds})


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberedLogProbs:
    """Log-probs (nats, float32) of completion tokens under the reference, by the completions' numbers, ascending."""

    values: Tensor
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]
    places: NDArray[np.int64]

    def of(self, number: int) -> Tensor:
        """Return ``[completion tokens]``.

        Raises:
            RunError: the completion was never computed: it must not be read as zeros.
        """
        at = int(np.searchsorted(self.numbers, number))
        if at == len(self.numbers) or self.numbers[at] != number:
            raise RunError(
                f"the reference cache has no log-probs of completion {number}",
                fix="the cache belongs to another run: remove results/reference and run again",
            )
        place = self.places[at]
        return self.values[int(self.offsets[place]) : int(self.offsets[place + 1])]

    def mean(self, number: int) -> float:
        """Return the mean log-prob of a completion's tokens, nats."""
        return float(self.of(number).mean())


def read_parts(parts: Sequence[Path]) -> dict[str, NumberedLogProbs]:
    """Read parts, by the kind of their numbers. Raises RunError for a part that cannot be read."""
    by_kind: dict[str, list[dict[str, Tensor]]] = {}
    for part in parts:
        try:
            kind = str(json.loads((part / "about.json").read_text(encoding="utf-8"))["kind"])
            by_kind.setdefault(kind, []).append(load_file(part / "logps.safetensors"))
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise RunError(
                f"reference cache {part} cannot be read: {error}", fix="remove that folder and run again"
            ) from error
    return {kind: _joined(tensors) for kind, tensors in by_kind.items()}


def _joined(parts: Sequence[dict[str, Tensor]]) -> NumberedLogProbs:
    """Return parts as one; of a completion that several hold the first one's numbers."""
    offsets, places, tokens, rows = [np.zeros(1, np.int64)], [], 0, 0
    for part in parts:
        offsets.append(part["offsets"][1:].numpy() + tokens)
        places.append(part["places"].numpy() + rows)
        tokens, rows = tokens + len(part["values"]), rows + len(part["offsets"]) - 1
    numbers = np.concatenate([part["numbers"].numpy() for part in parts])
    numbers, first = np.unique(numbers, return_index=True)
    return NumberedLogProbs(
        values=torch.cat([part["values"] for part in parts]),
        offsets=np.concatenate(offsets),
        numbers=numbers,
        places=np.concatenate(places)[first],
    )

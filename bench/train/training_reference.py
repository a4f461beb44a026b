"""The reference log-probs of one training: the blocks that its data are scored in, and what each step reads of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bench.core.specs import RunSpec, TrainSpec
from bench.data.collate import TokenRow, mismatched
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, singles_in
from bench.errors import RunError
from bench.models.reference_cache import row_digest
from bench.models.reference_parts import (
    Blocks,
    Numbered,
    NumberedLogProbs,
    Scoring,
    open_parts,
    read_parts,
)
from bench.train.drawn_rows import BLOCK, MISMATCHED, ROWS, Need, block_rows, block_steps, needs_of
from bench.train.sampler import Unit, Units, batch_indices, batch_units, schedule_of, stage_order, step_rows
from losses import ReferenceSchedule, get


def numbered(index: int, row: EncodedPair | EncodedSingle) -> Numbered:
    """Return the completions of row ``index`` of the data, with their numbers."""
    if isinstance(row, EncodedPair):
        return [(2 * index, (row.prompt_ids, row.chosen_ids)), (2 * index + 1, (row.prompt_ids, row.rejected_ids))]
    return [(index, (row.prompt_ids, row.completion_ids))]


@dataclass(frozen=True, eq=False)
class _Needed:
    """What a need asks for of the data."""

    data: Encoded
    need: Need

    @property
    def kind(self) -> str:
        """What the completions' numbers count."""
        return self.need.kind

    @property
    def identity(self) -> str:
        """What is scored."""
        return f"{self.data.content_hash} {self.need.name}"

    @property
    def wanted(self) -> int | None:
        """As many blocks; None: all."""
        return None if self.need.kind == ROWS and self.need.seed is None else self.need.blocks


@dataclass(frozen=True, eq=False)
class AllRows(_Needed):
    """Every completion of a part of the data, by like length or by prompt; equal ones stand together."""

    _order: dict[bool, list[tuple[int, ...]]] = field(default_factory=dict)

    def count(self, *, packed: bool) -> int:
        """Return the number of blocks."""
        return len(self._blocks(packed=packed))

    def block(self, place: int, *, packed: bool) -> Numbered:
        """Return the completions of a block."""
        return [(number, self._row(number)) for number in self._blocks(packed=packed)[place]]

    def _row(self, number: int) -> TokenRow:
        index = number // self.data.width
        return dict(numbered(index, self.data.rows[index]))[number]

    def _blocks(self, *, packed: bool) -> list[tuple[int, ...]]:
        """Return the numbers of each block: ``BLOCK`` different completions, with all that equal them."""
        if packed not in self._order:
            alike: dict[bytes, list[int]] = {}
            keys: dict[bytes, tuple[int, bytes]] = {}
            for side in range(self.data.width):
                for index in range(self.need.first, self.need.last):
                    number, row = numbered(index, self.data.rows[index])[side]
                    digest = row_digest(row)
                    alike.setdefault(digest, []).append(number)
                    if digest not in keys:
                        keys[digest] = _order_of(row, packed=packed)
            order = sorted(alike, key=lambda digest: keys[digest])
            self._order[packed] = [
                tuple(number for digest in order[start : start + BLOCK] for number in alike[digest])
                for start in range(0, len(order), BLOCK)
            ]
        return self._order[packed]


def _order_of(row: TokenRow, *, packed: bool) -> tuple[int, bytes]:
    """Return what rows of the data are sorted by: packed ones by their prompts, which they share, others by length."""
    prompt, completion = row
    if not packed:
        return len(prompt) + len(completion), b""
    return len(prompt), b"".join(token.to_bytes(4, "big") for token in prompt)


@dataclass(frozen=True, eq=False)
class DrawnRows(_Needed):
    """The completions of a part of the data in the order of a seed, as many blocks as a training draws."""

    @property
    def _rows(self) -> int:
        return block_rows(self.data.width)

    def count(self, *, packed: bool) -> int:
        """Return the number of blocks of an epoch."""
        return -(-(self.need.last - self.need.first) // self._rows)

    def block(self, place: int, *, packed: bool) -> Numbered:
        """Return the completions of a block."""
        rows, start = self.need.last - self.need.first, place * self._rows
        assert self.need.seed is not None
        picked = batch_indices(rows=rows, batch=self._rows, step=place, seed=self.need.seed)[: rows - start]
        indices = [self.need.first + i for i in picked]
        return [each for index in indices for each in numbered(index, self.data.rows[index])]


@dataclass(frozen=True, eq=False)
class MismatchedRows(_Needed):
    """The mismatched completions of the steps of a training, which KTO's baseline needs; some steps a block.

    ``margins``: the parts that hold all rows, where their margins order the stages.
    """

    spec: RunSpec
    margins: tuple[Path, ...]

    def count(self, *, packed: bool) -> int:
        """Return a number of blocks that no training reaches: steps go on over epochs."""
        return self.need.blocks + 1

    @cached_property
    def _drawn(self) -> tuple[Units, ReferenceSchedule, list[Sequence[int]]]:
        objective = get(self.spec.objective)
        schedule = schedule_of(objective, self.spec)
        margins = read_parts(self.margins).get(ROWS)
        order = stage_order(self.data, schedule, None if margins is None else margins.mean)
        return batch_units(self.data, objective), schedule, order

    def block(self, place: int, *, packed: bool) -> Numbered:
        """Return the completions of a block."""
        units, schedule, stages = self._drawn
        train = self.spec.train
        steps = block_steps(train.batch, self.data.width)
        rows: list[tuple[int, TokenRow]] = []
        for step in range(place * steps, (place + 1) * steps):
            if schedule.stages == 1:
                drawn = batch_indices(rows=len(units), batch=train.batch, step=step, seed=self.spec.seed)
            elif step < train.steps:
                drawn = step_rows(stages, schedule, spec=self.spec, step=step)
            else:
                break
            rows += mismatched_rows(step, [units[i] for i in drawn], train)
        return rows


def mismatched_rows(step: int, units: Sequence[Unit], train: TrainSpec) -> Numbered:
    """Return the mismatched completions of a step with their numbers."""
    rows = mismatched(singles_in(row for unit in units for row in unit), max_length=train.max_length)
    return [(step * len(rows) + i, (row.prompt_ids, row.completion_ids)) for i, row in enumerate(rows)]


def blocks_of(need: Need, data: Encoded, spec: RunSpec | None = None, margins: tuple[Path, ...] = ()) -> Blocks:
    """Return the blocks of a need; of mismatched completions it is that of ``spec``."""
    if need.kind == MISMATCHED:
        assert spec is not None
        return MismatchedRows(data, need, spec, margins)
    return AllRows(data, need) if need.seed is None else DrawnRows(data, need)


def needs_of_run(data: Encoded, spec: RunSpec) -> tuple[Need, ...]:
    """Return what the training of ``spec`` needs."""
    objective = get(spec.objective)
    schedule = schedule_of(objective, spec)
    return needs_of(objective, schedule, spec.train, seed=spec.seed, rows=len(data.rows), paired=data.kind == "pairs")


def open_references(data: Encoded, spec: RunSpec, scoring: Scoring) -> tuple[Path, ...]:
    """Return the parts that the training of ``spec`` reads, computing what is missing; none without a reference.

    Raises:
        KeyboardInterrupt: as the scoring says.
    """
    parts: tuple[Path, ...] = ()
    for need in needs_of_run(data, spec):  # the mismatched ones come last
        parts += open_parts(blocks_of(need, data, spec, parts), scoring)
    return parts


@dataclass(frozen=True, eq=False)
class TrainingReference:
    """The reference log-probs that one training reads, by the numbers of its completions."""

    rows: NumberedLogProbs
    mismatched: NumberedLogProbs | None

    def mean(self, number: int) -> float:
        """Return the mean log-prob of a completion of the data, nats."""
        return self.rows.mean(number)

    def at_step(self, step: int, drawn: Sequence[int], units: Sequence[Unit], train: TrainSpec) -> "StepReference":
        """Return what ``step`` (0-based) reads for its global batch.

        Args:
            drawn: the rows of the data that ``units`` are.
        """
        known: dict[TokenRow, Tensor] = {}
        if self.mismatched is not None:
            for number, row in mismatched_rows(step, units, train):
                known[row] = self.mismatched.of(number)
        for index, unit in zip(drawn, units, strict=True):
            width = sum(2 if isinstance(row, EncodedPair) else 1 for row in unit)
            first = index * width
            rows = [row for single in unit for _, row in numbered(0, single)]
            known |= {row: self.rows.of(first + side) for side, row in enumerate(rows)}
        for row, values in known.items():
            if len(row[1]) != len(values):
                raise RunError(
                    f"the reference cache has {len(values)} log-probs of a completion of {len(row[1])} tokens",
                    fix="the cache belongs to other data: remove results/reference and run again",
                )
        return StepReference(known)


@dataclass(frozen=True)
class StepReference:
    """Log-probs of the completions of one global batch."""

    known: Mapping[TokenRow, Tensor]

    def padded(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        """Lay rows out as ``mask [rows, tokens]`` says: one value where it is True, 0 elsewhere.

        Raises:
            RunError: a row that is not of the step.
        """
        if not rows:
            return torch.zeros(mask.shape, device=mask.device)
        try:
            flat = torch.cat([self.known[row] for row in rows]).to(mask.device)
        except KeyError as error:
            raise RunError(
                "the reference cache has no log-probs of a completion of the step",
                fix="the cache belongs to other data: remove results/reference and run again",
            ) from error
        return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


def read_training_reference(parts: Sequence[Path]) -> TrainingReference | None:
    """Read the parts of ``open_references``; None for none. Raises RunError where they cannot be read."""
    by_kind = read_parts(parts)
    return TrainingReference(by_kind[ROWS], by_kind.get(MISMATCHED)) if ROWS in by_kind else None

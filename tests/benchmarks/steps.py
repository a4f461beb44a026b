"""Owns the comparison of single steps: TRL's and ours in turn on the very same batch, in one process.

The losses of both are checked against each other: in float32, ours have to follow TRL's float32 trainer through at
least ten optimiser steps within 1e-4. That trainer therefore runs first, whatever was asked for, and our float32 trace
beside each other setting of TRL is held against the same one.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import RunError
from tests.benchmarks import alone, ours, theirs
from tests.benchmarks.machine import describe, now, peaks, quartiles
from tests.benchmarks.material import BATCH, EncodedPair, batches_of, draw_pairs, write_start
from tests.benchmarks.objectives import Precision, Run, compared
from tests.benchmarks.ours import baseline_completions
from tests.benchmarks.shapes import Shape, shape_of, step_flops, tokens_of

LEARNING_RATE = 3e-4
CHECKED = 10
"""Optimiser steps, at least, through which the losses have to agree."""
TOLERANCE = 1e-4
MOVED = 1e-2
"""The least range of the losses over those steps: on a trace that stands still agreement would mean nothing."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``steps`` was asked for. ``warm_up``: first steps of each setting whose time does not count.

    ``peak_seconds``: as long as each matrix product is repeated to find the machine's best.
    """

    sizes: tuple[str, ...]
    objectives: tuple[str, ...]
    settings: tuple[theirs.Mode, ...]
    steps: int
    warm_up: int = 2
    seed: int = 0
    memory: bool = True
    peak_seconds: float = 0.5
    our_beta: float | None = None


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Both sides of one setting, step by step."""

    theirs: theirs.Trace
    seconds: dict[Precision, list[float]]
    losses: dict[Precision, list[float]]
    reference_seconds: dict[Precision, float]


def compare(plan: Plan, *, note: Any) -> dict[str, Any]:
    """Run everything that ``plan`` asks for; the record has ``equal`` False in rows whose losses do not agree."""
    record: dict[str, Any] = {
        "kind": "steps",
        "machine": describe(),
        "peaks": peaks(seconds=plan.peak_seconds),
        "protocol": {**asdict(plan), "batch": BATCH, "learning_rate": LEARNING_RATE, "tolerance": TOLERANCE},
        "rows": [],
    }
    for size in plan.sizes:
        with tempfile.TemporaryDirectory() as folder:
            shape = shape_of(size)
            start = write_start(shape, Path(folder) / "model", seed=plan.seed)
            for objective in plan.objectives:
                record["rows"] += _objective(plan, shape, objective, start=start, peak=record["peaks"], note=note)
    return record


def disagreements(record: dict[str, Any]) -> list[str]:
    """One sentence for each row whose losses do not agree, or did not move."""
    return [
        f"{row['size']} {row['objective']} beside TRL's «{row['setting']}»: our float32 losses differ from those of "
        f"TRL's float32 trainer by {row['difference']:.2g} (allowed {TOLERANCE:g}) over {row['checked']} steps; TRL's "
        f"own move by {row['moved']:.2g} (at least {MOVED:g})"
        for row in record["rows"]
        if not row["equal"]
    ]


def _objective(
    plan: Plan, shape: Shape, objective: str, *, start: Path, peak: dict[str, float], note: Any
) -> list[dict[str, Any]]:
    count = max(plan.steps + plan.warm_up, CHECKED)
    pairs = draw_pairs(BATCH * count, vocabulary=shape.vocabulary, seed=plan.seed)
    run = Run(
        model=start,
        pairs=pairs,
        objective=objective,
        params=compared(objective).params,
        learning_rate=LEARNING_RATE,
        max_length=shape.context,
    )
    rows, oracle = [], None
    for setting in dict.fromkeys(("fp32", *plan.settings)):
        note(f"{shape.name} {objective} {setting}: {count} steps")
        timed = _both(run, setting, our_beta=plan.our_beta, cache=start.parent / "reference")
        oracle = oracle or timed.theirs.losses
        row = _row(plan, shape, run, setting=setting, timed=timed, oracle=oracle, peak=peak)
        if plan.memory:
            row["peak_bytes"] = {
                side: alone.measured(alone.Side(size=shape.name, objective=objective, side=side))["peak_bytes"]
                for side in (f"trl-{setting}", *(f"ours-{precision}" for precision in PRECISIONS))
            }
        note(_told(row))
        rows.append(row)
    return rows


def _both(run: Run, setting: theirs.Mode, *, our_beta: float | None, cache: Path) -> Timed:
    """TRL's epoch, and after each of its steps ours on the same pairs, in each precision.

    Raises RunError where a batch of TRL's is not the one that ours had.
    """
    mine = run if our_beta is None else Run(**{**vars(run), "params": {**run.params, "beta": our_beta}})
    sides = {precision: ours.prepare(mine, precision=precision, cache=cache) for precision in PRECISIONS}
    seconds: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
    losses: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}

    def after(step: int) -> None:
        for precision, side in sides.items():
            started = now()
            losses[precision].append(side.step())
            seconds[precision].append(now() - started)

    trace = theirs.train(run, mode=setting, after_step=after)
    for number, (rows, batch) in enumerate(zip(trace.rows, batches_of(run.pairs), strict=True)):
        if rows != theirs.rows_expected(batch, run):
            raise RunError(f"step {number}: TRL's batch does not hold the token ids that ours has")
    return Timed(
        theirs=trace,
        seconds=seconds,
        losses=losses,
        reference_seconds={precision: side.reference_seconds for precision, side in sides.items()},
    )


def _row(
    plan: Plan,
    shape: Shape,
    run: Run,
    *,
    setting: theirs.Mode,
    timed: Timed,
    oracle: Sequence[float],
    peak: dict[str, float],
) -> dict[str, Any]:
    batches = batches_of(run.pairs)
    kept = slice(plan.warm_up, None)
    flops = np.array([_flops(shape, batch, run) for batch in batches])[kept]
    tokens = np.array([tokens_of(batch) for batch in batches])[kept]
    trl = np.array(timed.theirs.seconds)[kept]
    difference = float(np.abs(np.array(oracle) - np.array(timed.losses["fp32"])).max())
    moved = float(np.ptp(oracle))
    own = "fp32" if setting == "fp32" else "bf16"
    row: dict[str, Any] = {
        "size": shape.name,
        "objective": run.objective,
        "setting": setting,
        "steps": len(trl),
        "tokens": float(tokens.mean()),
        "useful_flops": float(flops.mean()),
        "trl": _side(trl, tokens, flops, peak[own]),
        "checked": len(oracle),
        "difference": difference,
        "moved": moved,
        "equal": difference <= TOLERANCE and moved >= MOVED,
        "losses": {"trl": timed.theirs.losses, **timed.losses},
    }
    for precision in PRECISIONS:
        mine = np.array(timed.seconds[precision])[kept]
        charged = mine + timed.reference_seconds[precision] / len(batches)
        row[f"ours-{precision}"] = {
            **_side(mine, tokens, flops, peak[precision]),
            "ratio": quartiles(trl / mine),
            "ratio_with_reference": quartiles(trl / charged),
        }
    return row


def _flops(shape: Shape, batch: Sequence[EncodedPair], run: Run) -> int:
    if run.objective != "kto":
        return step_flops(shape, batch)
    others = baseline_completions(batch, max_length=run.max_length)[::2]  # both rows of a prompt meet the same one
    lengths = [(len(pair.prompt_ids), len(other)) for pair, other in zip(batch, others, strict=True)]
    return step_flops(shape, batch, mismatched=lengths)


def _side(seconds: np.ndarray, tokens: np.ndarray, flops: np.ndarray, peak: float) -> dict[str, Any]:
    return {
        "seconds": quartiles(seconds),
        "tokens_per_second": float(np.median(tokens / seconds)),
        "share_of_peak": float(np.median(flops / seconds) / peak),
    }


def _told(row: dict[str, Any]) -> str:
    sides = ", ".join(
        f"ours {precision} {row[f'ours-{precision}']['seconds']['median']:.3f} s = "
        f"{row[f'ours-{precision}']['ratio']['median']:.1f}x"
        for precision in PRECISIONS
    )
    return f"  TRL {row['trl']['seconds']['median']:.3f} s, {sides}; losses within {row['difference']:.1e}"

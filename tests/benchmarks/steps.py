"""Owns the comparison of single steps: TRL's and ours in turn on the very same batch.

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

from tests.benchmarks import alone, theirs
from tests.benchmarks.alone import in_child
from tests.benchmarks.machine import describe, peaks, quartiles
from tests.benchmarks.material import BATCH, EncodedPair, batches_of, write_start
from tests.benchmarks.objectives import Run
from tests.benchmarks.ours import baseline_completions
from tests.benchmarks.shapes import Shape, shape_of, step_flops, tokens_of
from tests.benchmarks.turns import LEARNING_RATE, PRECISIONS, Job

CHECKED = 10
"""Optimiser steps, at least, through which the losses have to agree."""
TOLERANCE = 1e-4
MOVED = 1e-2
"""The least range of the losses over those steps: on a trace that stands still agreement would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``steps`` was asked for. ``warm_up``: first steps of each process whose time does not count.

    ``repeats``: processes of each setting. ``peak_seconds``: as long as each matrix product is repeated to find the
    machine's best.
    """

    sizes: tuple[str, ...]
    objectives: tuple[str, ...]
    settings: tuple[theirs.Mode, ...]
    steps: int
    repeats: int = 1
    warm_up: int = 2
    seed: int = 0
    memory: bool = True
    peak_seconds: float = 0.5
    our_beta: float | None = None


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
            write_start(shape, Path(folder) / "model", seed=plan.seed)
            for objective in plan.objectives:
                record["rows"] += _objective(plan, shape, objective, folder=folder, peak=record["peaks"], note=note)
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
    plan: Plan, shape: Shape, objective: str, *, folder: str, peak: dict[str, float], note: Any
) -> list[dict[str, Any]]:
    count = max(plan.steps + plan.warm_up, CHECKED)
    rows, oracle = [], None
    for setting in dict.fromkeys(("fp32", *plan.settings)):
        note(f"{shape.name} {objective} {setting}: {plan.repeats} × {count} steps")
        job = Job(
            folder=folder,
            size=shape.name,
            objective=objective,
            setting=setting,
            steps=count,
            seed=plan.seed,
            our_beta=plan.our_beta,
        )
        found = _turns(job, repeats=plan.repeats)
        oracle = oracle or found[0]["losses"]["trl"]
        row = _row(plan, shape, job, found=found, oracle=oracle, peak=peak)
        if plan.memory:
            row["peak_bytes"] = {
                side: alone.measured(alone.Side(size=shape.name, objective=objective, side=side))["peak_bytes"]
                for side in (f"trl-{setting}", *(f"ours-{precision}" for precision in PRECISIONS))
            }
        note(_told(row))
        rows.append(row)
    return rows


def _turns(job: Job, *, repeats: int) -> list[dict[str, Any]]:
    """What ``repeats`` processes found, one after another."""
    return [in_child("turns", asdict(job))["found"] for _ in range(repeats)]


def _row(
    plan: Plan,
    shape: Shape,
    job: Job,
    *,
    found: Sequence[dict[str, Any]],
    oracle: Sequence[float],
    peak: dict[str, float],
) -> dict[str, Any]:
    """All processes' timed steps together; their losses are one and the same trace, or the row is not equal."""
    run = job.run()
    batches = batches_of(run.pairs)
    kept = slice(plan.warm_up, None)
    flops = np.tile(np.array([_flops(shape, batch, run) for batch in batches])[kept], len(found))
    tokens = np.tile(np.array([tokens_of(batch) for batch in batches])[kept], len(found))
    seconds = {
        side: np.concatenate([np.array(each["seconds"][side])[kept] for each in found]) for side in ("trl", *PRECISIONS)
    }
    difference = max(float(np.abs(np.array(oracle) - np.array(each["losses"]["fp32"])).max()) for each in found)
    moved = float(np.ptp(oracle))
    own = "fp32" if job.setting == "fp32" else "bf16"
    row: dict[str, Any] = {
        "size": shape.name,
        "objective": job.objective,
        "setting": job.setting,
        "processes": len(found),
        "steps": len(seconds["trl"]),
        "tokens": float(tokens.mean()),
        "useful_flops": float(flops.mean()),
        "trl": _side(seconds["trl"], tokens, flops, peak[own]),
        "checked": len(oracle),
        "difference": difference,
        "moved": moved,
        "equal": difference <= TOLERANCE and moved >= MOVED,
        "losses": found[0]["losses"],
    }
    for precision in PRECISIONS:
        mine = seconds[precision]
        # The first process computed the reference; the others read what it left.
        charged = mine + max(each["reference_seconds"][precision] for each in found) / len(batches)
        row[f"ours-{precision}"] = {
            **_side(mine, tokens, flops, peak[precision]),
            "ratio": quartiles(seconds["trl"] / mine),
            "ratio_with_reference": quartiles(seconds["trl"] / charged),
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

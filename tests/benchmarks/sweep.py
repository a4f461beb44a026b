"""Owns the comparison of sweeps over β: five processes of TRL, one after another, beside one process of ours.

The time goes from the start of a process to its last score, so imports, reading, tokenising and the reference count on
both sides. A process of TRL trains one epoch of DPO at one β and scores held-out pairs; ours does all β. Both see the
same text in the same order, and their held-out losses have to agree.
"""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.train.sampler import batch_indices
from tests.benchmarks.alone import AS_BENCH_SETS, in_child
from tests.benchmarks.machine import describe, quartiles
from tests.benchmarks.material import BATCH, draw_pairs, write_start, write_texts
from tests.benchmarks.objectives import Run
from tests.benchmarks.shapes import Shape, shape_of

LEARNING_RATE = 3e-4
HELD_OUT = 32
TOLERANCE = 1e-3
"""Of the held-out losses of our float32 runs, after a whole epoch; TRL's in bf16 may be further off."""
BETAS = (0.03, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``sweep`` was asked for. ``pairs`` None: as many as the size's own; ``setting``: TRL's."""

    sizes: tuple[str, ...]
    betas: int
    pairs: int | None
    setting: str
    repeats: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process is given."""

    folder: str
    betas: tuple[float, ...]
    max_length: int
    how: str


def compare(plan: Plan, *, note: Any) -> dict[str, Any]:
    """Run all sweeps; rows whose held-out losses do not agree have ``equal`` False."""
    rows = []
    for size in plan.sizes:
        with tempfile.TemporaryDirectory() as folder:
            shape = shape_of(size)
            pairs = plan.pairs or shape.sweep_pairs
            write_material(shape, Path(folder), pairs=pairs, seed=plan.seed)
            rows.append(_row(plan, shape, pairs, Path(folder), note=note))
    return {
        "kind": "sweep",
        "machine": describe(),
        "protocol": {**asdict(plan), "batch": BATCH, "learning_rate": LEARNING_RATE, "held_out": HELD_OUT},
        "rows": rows,
    }


def disagreements(record: dict[str, Any]) -> list[str]:
    """One sentence for each sweep whose held-out losses do not agree."""
    return [
        f"{row['size']}: held-out losses of our float32 sweep differ from TRL's by {row['difference']:.2g} "
        f"(allowed {TOLERANCE:g})"
        for row in record["rows"]
        if not row["equal"]
    ]


def run_theirs(job: Job) -> dict[str, Any]:
    """TRL at one β, in this process."""
    from tests.benchmarks import theirs

    folder, (beta,) = Path(job.folder), job.betas
    run = Run(
        model=folder / "model", pairs=(), objective="dpo", params={"beta": beta}, learning_rate=LEARNING_RATE,
        max_length=job.max_length,
    )  # fmt: skip
    score = theirs.train_and_score(
        run, mode=job.how, train=folder / "train-ordered.jsonl", held_out=folder / "held-out.jsonl"
    )
    return {"scores": [{"beta": beta, **score}], "ended": time.time()}


def run_ours(job: Job) -> dict[str, Any]:
    """All β, by this process and its workers; it must be a fresh one."""
    from bench.utils.process import loading

    with loading():
        import torch

        from bench.runner.resources import choose_workers, environment_threads, parameters_in, this_machine
        from tests.benchmarks.ours_sweep import train_betas

    folder = Path(job.folder)
    parameters = parameters_in(folder / "model")
    crew = choose_workers(
        this_machine(), parameters=parameters, runs=len(job.betas), processes=1, threads=environment_threads()
    )
    if crew.workers > 1:
        torch.set_num_threads(1)  # so that it may be forked
    with tempfile.TemporaryDirectory() as work:
        scores = train_betas(
            folder / "model",
            train_file=folder / "train.jsonl",
            held_out_file=folder / "held-out.jsonl",
            betas=job.betas,
            batch=BATCH,
            learning_rate=LEARNING_RATE,
            max_length=job.max_length,
            precision=job.how,
            work=Path(work),
            crew=crew,
        )
        ended = time.time()
    return {"scores": scores, "ended": ended}


def write_material(shape: Shape, folder: Path, *, pairs: int, seed: int) -> None:
    """The start model, and the text: for TRL in the order in which ours draws it."""
    write_start(shape, folder / "model", seed=seed)
    drawn = draw_pairs(pairs + HELD_OUT, vocabulary=shape.vocabulary, seed=seed)
    train = drawn[:pairs]
    steps = -(-pairs // BATCH)
    order = [i for step in range(steps) for i in batch_indices(rows=pairs, batch=BATCH, step=step, seed=seed)]
    write_texts(train, folder / "train.jsonl")
    write_texts([train[i] for i in order], folder / "train-ordered.jsonl")
    write_texts(drawn[pairs:], folder / "held-out.jsonl")


def _row(plan: Plan, shape: Shape, pairs: int, folder: Path, *, note: Any) -> dict[str, Any]:
    betas = BETAS[: plan.betas]
    seconds: dict[str, list[float]] = {"trl": [], "ours-fp32": [], "ours-bf16": []}
    losses: dict[str, list[float]] = {}

    def timed(side: str, command: str, how: str, values: tuple[float, ...]) -> tuple[float, list[float]]:
        job = Job(folder=str(folder), betas=values, max_length=shape.context, how=how)
        done = in_child(command, asdict(job), environment=AS_BENCH_SETS if side != "trl" else None)
        return done["found"]["ended"] - done["started"], [score["loss"] for score in done["found"]["scores"]]

    for _ in range(plan.repeats):
        parts = [timed("trl", "sweep-theirs", plan.setting, (beta,)) for beta in betas]
        seconds["trl"].append(sum(wall for wall, _ in parts))
        losses["trl"] = [loss for _, (loss,) in parts]
        for precision in ("fp32", "bf16"):
            side = f"ours-{precision}"
            wall, losses[side] = timed(side, "sweep-ours", precision, betas)
            seconds[side].append(wall)
    row: dict[str, Any] = {
        "size": shape.name,
        "objective": "dpo",
        "setting": plan.setting,
        "betas": list(betas),
        "pairs": pairs,
        "difference": float(np.abs(np.array(losses["trl"]) - np.array(losses["ours-fp32"])).max()),
        "losses": losses,
        "trl": {"seconds": quartiles(seconds["trl"])},
    }
    row["equal"] = plan.setting != "fp32" or row["difference"] <= TOLERANCE
    for precision in ("fp32", "bf16"):
        mine = np.array(seconds[f"ours-{precision}"])
        row[f"ours-{precision}"] = {"seconds": quartiles(mine), "ratio": quartiles(np.array(seconds["trl"]) / mine)}
    note(
        f"{shape.name}: TRL {row['trl']['seconds']['median']:.1f} s, ours fp32 "
        f"{row['ours-fp32']['seconds']['median']:.1f} s, bf16 {row['ours-bf16']['seconds']['median']:.1f} s; "
        f"held-out losses within {row['difference']:.1e}"
    )
    return row

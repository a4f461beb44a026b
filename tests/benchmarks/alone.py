"""Owns one side alone in a process of its own: its peak memory, and its step times as a check."""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import RunError
from bench.utils.process import MATMUL_CACHES

AS_BENCH_SETS = {"GOMP_SPINCOUNT": "1000", **MATMUL_CACHES}
"""What ``bench`` sets before anything is computed; TRL's processes have the environment as it is."""
ROOT = Path(__file__).parents[2]
STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Side:
    """``side``: trl-default, trl-fp32, trl-best, ours-fp32 or ours-bf16."""

    size: str
    objective: str
    side: str
    steps: int = STEPS


@functools.cache
def measured(side: Side) -> dict[str, Any]:
    """Start the process and return what it found. Raises RunError where it fails."""
    return in_child("alone", asdict(side), environment=AS_BENCH_SETS if side.side.startswith("ours") else None)["found"]


def in_child(command: str, values: dict[str, Any], *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a subcommand of this package that takes ``--job`` and writes ``--out``; return what it wrote, as ``found``,
    and the second since the epoch in which it was ``started``. Raises RunError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        line = [sys.executable, "-m", "tests.benchmarks", command, "--job", json.dumps(values), "--out", str(out)]
        started = time.time()
        done = subprocess.run(
            line, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RunError(f"{command} {values} ended with {done.returncode}: {done.stderr[-2000:]}")
        return {"started": started, "found": json.loads(out.read_text(encoding="utf-8"))}


def run_side(side: Side) -> dict[str, Any]:
    """A few steps of one side in this process: seconds of each, and the peak memory of the whole process in bytes."""
    from tests.benchmarks.machine import now, peak_bytes
    from tests.benchmarks.material import BATCH, draw_pairs, write_start
    from tests.benchmarks.objectives import Run, compared
    from tests.benchmarks.shapes import shape_of

    shape = shape_of(side.size)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model=write_start(shape, Path(folder) / "model"),
            pairs=draw_pairs(BATCH * side.steps, vocabulary=shape.vocabulary, seed=0),
            objective=side.objective,
            params=compared(side.objective).params,
            learning_rate=1e-4,
            max_length=shape.context,
        )
        who, how = side.side.split("-")
        if who == "trl":
            from tests.benchmarks import theirs

            seconds = theirs.train(run, mode=how, after_step=lambda step: None).seconds
        else:
            from tests.benchmarks import ours

            mine, seconds = ours.prepare(run, precision=how, cache=Path(folder) / "reference"), []
            for _ in range(side.steps):
                started = now()
                mine.step()
                seconds.append(now() - started)
    return {"peak_bytes": peak_bytes(), "seconds": seconds}

"""Owns ``python -m tests.load``: many workers on one study, and a study that grows; numbers, table and figure."""

import argparse
import csv
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.load.counts import count
from tests.load.growth import SIZES, grow
from tests.load.workers import run_workers
from tests.postgres import running_postgres

FIGURES = Path(__file__).parents[2] / "docs" / "figures"


@contextmanager
def fresh(kind: str) -> Iterator[tuple[str, Path]]:
    """A storage that is empty, and a folder."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "journal":
            yield f"{folder}/study.log", Path(folder)
        else:
            with running_postgres() as server:
                yield server.url, Path(folder)


def measure_load(kind: str, *, workers: int, trials: int, seconds: float) -> dict[str, object]:
    """One row: throughput, overhead, and what was lost or done twice."""
    with fresh(kind) as (storage, folder):
        found, took = run_workers(storage, folder, workers=workers, trials=trials, seconds=seconds)
        costs = sorted(trial.overhead for trial in found)
        return {
            "what": "load", "storage": kind, "workers": workers, "trial_seconds": seconds,
            "trials_per_second": round(len(found) / took, 1),
            "median_ms": round(1000 * statistics.median(costs), 1),
            "p95_ms": round(1000 * costs[int(0.95 * len(costs))], 1),
            "cpu_ms": round(1000 * statistics.fmean(trial.cpu for trial in found), 2),
            **asdict(count(storage, found, points=trials)),
        }  # fmt: skip


def measure_growth(kind: str, *, sizes: tuple[int, ...]) -> Iterator[dict[str, object]]:
    """One row for each size of the study."""
    with fresh(kind) as (storage, _):
        for grown in grow(storage, sizes=sizes):
            yield {
                "what": "growth", "storage": kind, "workers": 1, "trial_seconds": 0.0, "points": grown.size,
                "median_ms": round(1000 * grown.median, 2), "p95_ms": round(1000 * grown.p95, 2),
                "cpu_ms": round(1000 * grown.cpu, 2),
                "joining_ms": round(1000 * grown.joining, 1),
            }  # fmt: skip


def write(rows: list[dict[str, object]], out: Path) -> None:
    """Numbers as CSV, growth as a figure."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (out / "load.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    for kind, colour in (("postgres", "#0072B2"), ("journal", "#D55E00")):
        found = [row for row in rows if row["what"] == "growth" and row["storage"] == kind]
        axes.plot([r["points"] for r in found], [r["median_ms"] for r in found], "o-", color=colour, label=kind)
        axes.plot([r["points"] for r in found], [r["cpu_ms"] for r in found], "--", color=colour, alpha=0.5)
    axes.set(xscale="log", xlabel="trials in the study", ylabel="overhead per trial, ms", ylim=(0, None))
    axes.legend(title="median; dashed: its CPU time", frameon=False)
    figure.savefig(out / "load.png", dpi=150)


def main() -> None:
    """Read the options, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--trials", type=int, default=1500, help="that take no time; a fifth as many long ones")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a long trial")
    parser.add_argument("--largest", type=int, default=max(SIZES), help="study of the growth measurement")
    parser.add_argument("--out", type=Path, default=FIGURES)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    tell: Callable[[dict[str, object]], None] = lambda row: print(json.dumps(row), flush=True)  # noqa: E731
    for kind in ("postgres", "journal"):
        for trials, seconds in ((given.trials, 0.0), (given.trials // 5, given.seconds)):
            rows.append(measure_load(kind, workers=given.workers, trials=trials, seconds=seconds))
            tell(rows[-1])
        for row in measure_growth(kind, sizes=tuple(size for size in SIZES if size <= given.largest)):
            rows.append(row)
            tell(row)
    write(rows, given.out)


if __name__ == "__main__":
    main()

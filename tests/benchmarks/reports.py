"""Time and memory of tables, figures and page, by the number of records in the results folder."""

import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.record import START, RunRecord
from bench.core.record_bundle import write_bundle
from bench.core.results import load_records
from bench.report.figures.saving import save
from bench.report.figures.style import BLUE, GREY, ORANGE
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
COMMANDS = ("leaderboard", "figures", "page")
COLORS = dict(zip(COMMANDS, (BLUE, ORANGE, GREY), strict=True))


@dataclass(frozen=True)
class Timing:
    """Wall and processor seconds and peak memory, bytes, of one command on a folder of ``records`` records."""

    records: int
    command: str
    seconds: float
    cpu_seconds: float
    memory: int


def make_records(records: int, *, objectives: int) -> list[RunRecord]:
    """Return as many records of ``objectives`` objectives, after those published of the suite ``exact``.

    More than were published are copies of validation runs at a slightly larger β, each a setting of its own, so that
    every part of a report has more to do: settings, points of the frontiers, trials behind the importances.
    """
    published = load_records(ROOT / "results" / "published" / "exact")
    names = sorted({record.spec.objective for record in published} - {START})
    names = ["dpo", *(name for name in names if name != "dpo")][:objectives]
    start = [record for record in published if record.spec.objective == START]
    runs = [record for record in published if record.spec.objective in names]
    tests = [record for record in runs if record.evaluation.split == "test"]
    sweeps = [record for record in runs if record.evaluation.split != "test"]
    chosen = [*start, *sweeps, *tests][:records]
    copies = (_copy(record, factor=1 + number / 1000) for number in count(1) for record in sweeps)
    return [*chosen, *islice(copies, records - len(chosen))]


def _copy(record: RunRecord, *, factor: float) -> RunRecord:
    params = {name: value * factor for name, value in record.spec.params.items()}
    spec = record.spec.model_copy(update={"params": params})
    return record.model_copy(update={"spec": spec, "key": spec.key})


def measure(
    records: Sequence[int], *, objectives: int, repeats: int, root: Path = ROOT, note: Callable[[str], None]
) -> list[Timing]:
    """Return the median of ``repeats`` runs of each command at each number of records; ``root`` holds the program."""
    timings = []
    for number in records:
        made = make_records(number, objectives=objectives)
        for command in COMMANDS:
            runs = sorted((_run(command, made, root=root) for _ in range(repeats)), key=lambda one: one.seconds)
            timings.append(runs[len(runs) // 2])
            note(
                f"{number} records, bench {command}: {timings[-1].seconds:.1f} s, "
                f"{timings[-1].cpu_seconds:.1f} s of processors, {timings[-1].memory / 1e6:.0f} MB"
            )
    return timings


def _run(command: str, records: Sequence[RunRecord], *, root: Path) -> Timing:
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(records, Path(folder))
        environment = {**os.environ, "PYTHONPATH": str(root)}
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", command, "--out", folder],
            cwd=root,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise RuntimeError(f"bench {command} on {len(records)} records ended with status {status}")
    return Timing(len(records), command, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def write(timings: Sequence[Timing], folder: Path) -> tuple[Path, Path]:
    """Write reports.csv and reports.png; return both."""
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(("records", "command", "seconds", "cpu_seconds", "peak_megabytes"))
    for one in timings:
        rows.writerow(
            (one.records, one.command, f"{one.seconds:.2f}", f"{one.cpu_seconds:.2f}", f"{one.memory / 1e6:.0f}")
        )
    write_text_whole(folder / "reports.csv", lines.getvalue())
    (drawn,) = save(_figure(timings), folder / "reports", formats=("png",))
    return drawn, folder / "reports.csv"


def _figure(timings: Sequence[Timing]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 3.2), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    for command in COMMANDS:
        own = [one for one in timings if one.command == command]
        numbers = [one.records for one in own]
        style = {"color": COLORS[command], "marker": "o", "markersize": 4, "label": f"bench {command}"}
        left.plot(numbers, [one.seconds for one in own], **style)
        right.plot(numbers, [one.memory / 1e6 for one in own], **style)
    for panel, label in ((left, "seconds"), (right, "peak memory [MB]")):
        panel.set(xlim=(0, None), ylim=(0, None), xlabel="records", ylabel=label)
    left.legend(fontsize=8)
    return figure

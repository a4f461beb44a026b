"""Plans against runs: ``python -m tests.bench.runner.plan_accuracy`` prints the table of docs/benchmarks.md.

Each command is planned three times (medians count), then run into an empty folder. Seconds are those of the processor,
of all processes of the command together: on a machine that others use they are what a command itself takes. With
``--only NAME`` one command alone; ``--small`` has fewer runs of each.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.core.request import RunRequest

SUITE = Path(__file__).parents[3] / "bench" / "suites" / "sentiment"
PLANS = 3


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a command took: CPU seconds, seconds that passed, bytes of its largest process, reference rows."""

    work: float
    wall: float
    memory: float
    reference: int


def commands(folder: Path, *, small: bool) -> dict[str, list[str]]:
    """Return the options of each command; the data of the last two are written to ``folder``."""
    data = write_pairs(folder / "own.jsonl", rows=900)
    few = ["--trials", "1", "--seeds", "1", "--workers", "1", "--set", "train.steps=16"]
    lora = [
        "--suite",
        "chat",
        "--model",
        str(SUITE / "model"),
        "--data",
        str(data),
        "--loss",
        "dpo",
        "--judge",
        "fitted",
    ]
    lora += ["--set", "lora.rank=8", "--set", "train.max_length=128", "--set", "evaluation.tokens=32"]
    every = {
        "sentiment, β of DPO": (["--loss", "dpo", "--sweep", "beta"], []),
        "sentiment, KTO and IPO": (["--loss", "kto,ipo"], ["--trials", "1", "--seeds", "3"]),
        "exact, all objectives": (["--suite", "exact", "--loss", "all"], []),
        "chat, LoRA": (lora, ["--trials", "2", "--seeds", "2"]),
        "own data": (["--loss", "dpo", "--data", str(data)], ["--trials", "3", "--seeds", "2"]),
    }
    return {name: [*common, *(few if small else whole)] for name, (common, whole) in every.items()}


def write_pairs(path: Path, *, rows: int) -> Path:
    """Write the suite's first pairs as text, as a user has them."""
    from bench.models.loading import load_tokenizer
    from bench.suites.pairs import load_pairs

    tokenizer = load_tokenizer(SUITE / "model")
    pairs = load_pairs(SUITE / "data", "train")[:rows]

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    lines = []
    for pair in pairs:
        prompt, chosen, rejected = text(pair.prompt_ids), text(pair.chosen_ids), text(pair.rejected_ids)
        if chosen.strip() and rejected.strip() and chosen != rejected:
            lines.append(json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def planned(options: Sequence[str], out: Path) -> dict[str, float]:
    """Return the medians of several plans, each made in a process of its own."""
    made = []
    for _ in range(PLANS):
        command = [sys.executable, "-m", "tests.bench.runner.plan_accuracy", "--plan", *options, "--out", str(out)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        made.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: statistics.median(each[name] for each in made) for name in made[0]}


def print_plan(options: Sequence[str]) -> None:
    """Print one plan as JSON; ``options`` are those of ``bench run``."""
    from unittest import mock

    from bench.cli import execute
    from bench.cli import main as bench_main

    requests: list[RunRequest] = []
    with (
        mock.patch.object(execute, "plan_command", requests.append),
        mock.patch.object(sys, "argv", ["bench", "run", *options, "--dry-run"]),
        contextlib.suppress(SystemExit),
    ):
        bench_main()
    with tempfile.TemporaryDirectory() as scratch:
        from bench.models.matmul import take_route
        from bench.runner.estimate.forecast import forecast
        from bench.runner.estimate.outline import make_outline
        from bench.utils.process import quiet_libraries

        quiet_libraries()
        take_route()
        started = time.process_time()
        made = forecast(make_outline(requests[0], scratch=Path(scratch), note=print), started=started)
    assert made.work is not None
    assert made.wall is not None
    assert made.rates is not None
    asked = made.reference
    values = {
        "work": made.work,
        "wall": made.wall,
        "memory": made.memory.process,
        "reference": 0 if asked is None else asked.drawn + asked.mismatched,
        "probe": made.rates.seconds,
    }
    print(json.dumps(values))


def run(options: Sequence[str], out: Path) -> Seen:
    """Run a command and return what it took."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "bench", "run", *options, "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(options)} ended with status {status}")
    return Seen(
        work=used.ru_utime + used.ru_stime,
        wall=wall,
        memory=used.ru_maxrss * 1024.0,
        reference=reference_rows(out),
    )


def reference_rows(out: Path) -> int:
    """Return the reference rows of training data and baselines that a run computed, as its log says."""
    logs = sorted((out / "logs").glob("*.jsonl"))
    events = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
    built = [event for event in events if event.get("event") == "cache_built" and event.get("cache") == "reference"]
    counts = sorted(int(event["rows"]) for event in built)
    # The smallest two are the held-out pairs of both splits, which no plan counts as drawn.
    return sum(counts[2:])


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--plan"]:
        print_plan(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args()
    print(
        "| command | CPU s: planned, taken, ratio | passed: planned, taken | memory: planned, taken | reference rows |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options) in enumerate(commands(Path(folder), small=chosen.small).items()):
            if chosen.only is not None and chosen.only not in name:
                continue
            out = Path(folder) / f"results-{number}"
            plan = planned(options, out)
            seen = run(options, out)
            print(
                f"| {name} | {plan['work']:.0f}, {seen.work:.0f}, {plan['work'] / seen.work:.2f} "
                f"| {plan['wall']:.0f} s, {seen.wall:.0f} s "
                f"| {plan['memory'] / 1e6:.0f} MB, {seen.memory / 1e6:.0f} MB "
                f"| {plan['reference']:.0f}, {seen.reference} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Owns a comparison: sweep each objective, select on validation, train the best again, report on test."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bench.identity import start_spec
from bench.pipeline import Hooks, forget, run, try_run
from bench.plan import Plan
from bench.progress import Progress
from bench.report.record import RunRecord
from bench.search import Search
from bench.spec import RunSpec
from sweeps.study import open_study
from sweeps.worker import Outcome, run_trials

EVALUATION_UNITS = 0.5
"""What an evaluation counts for in the progress, as a share of a run's steps."""


@dataclass
class Stop:
    """Whether a user asked to stop. A run that trains saves its state first; anything else stops at once."""

    asked: bool = False
    training: bool = False


def compare(plan: Plan, progress: Progress, *, leader: bool = True) -> tuple[list[RunRecord], list[str]]:
    """Run a whole plan, doing only what is missing.

    Returns:
        The records it stands on, and one line for each setting that failed: others went on without it.

    Args:
        leader: off in a process that helps another one (``--workers``): it starts no helpers and forgets no runs.
    """
    workspace = plan.workspace
    if leader and not plan.request.resume:
        for search in plan.searches:
            for point in search.points:
                for seed in (*plan.seeds, *plan.final_seeds):
                    forget(workspace, search.spec(workspace, point, seed=seed))
    failures: list[str] = []
    with _stoppable() as stop, _helpers(plan.request.workers if leader else 1):
        hooks = _hooks(plan, progress, stop)
        records = [run(workspace, start_spec(workspace), split, hooks, tuning=plan.protocol) for split in _splits(plan)]
        for search in plan.searches:
            tried, failed = _sweep(plan, search, hooks)
            failures += failed
            chosen = select(tried)
            records += tried
            for line in failed:
                progress.note(line)
            if chosen is None:
                progress.note(f"{search.objective.name}: no setting completed, so there is none to retrain")
                continue
            specs = [chosen.spec.model_copy(update={"seed": seed}) for seed in plan.final_seeds]
            records += _each(plan, specs, "test", hooks)
    return records, failures


def select(records: Sequence[RunRecord]) -> RunRecord | None:
    """A record of the setting with the highest mean target over its seeds; None where every setting diverged."""
    settings: dict[str, list[RunRecord]] = {}
    for record in records:
        settings.setdefault(record.spec.model_copy(update={"seed": 0}).canonical(), []).append(record)
    means: dict[str, float] = {}
    for setting, group in settings.items():
        targets = [metric.value for record in group if (metric := record.metric("target")) is not None]
        if len(targets) == len(group):
            means[setting] = sum(targets) / len(targets)
    return settings[max(means, key=means.__getitem__)][0] if means else None


def _sweep(plan: Plan, search: Search, hooks: Hooks) -> tuple[list[RunRecord], list[str]]:
    """Try the settings of one objective through Optuna; return the records of its runs on validation prompts, and a
    line for each setting that failed."""
    workspace, request = plan.workspace, plan.request
    name = plan.study_name(search)
    storage = request.storage
    if storage is None:
        folder = request.results / "studies" / name
        folder.mkdir(parents=True, exist_ok=True)
        storage = str(folder / "journal.log")
    study = open_study(name, storage=storage, sampler=request.sampler, seed=0, protocol=plan.protocol, **search.design)

    def evaluate(point: dict[str, float], number: int) -> Outcome:
        specs = [search.spec(workspace, point, seed=seed) for seed in plan.seeds]
        records = _each(plan, specs, "validation", hooks)
        diverged = [record for record in records if record.status != "completed"]
        if diverged:
            return Outcome(status="diverged", target=None, run_key=diverged[0].key, error=diverged[0].error)
        targets = [metric.value for record in records if (metric := record.metric("target")) is not None]
        return Outcome(status="completed", target=sum(targets) / len(targets), run_key=records[0].key, error=None)

    results = run_trials(
        study, evaluate=evaluate, trials=None if request.sampler == "grid" else plan.trials, **search.design
    )
    failed = [
        f"{search.objective.name} {result.params}: failed: {(result.error or 'no reason given').splitlines()[0]}"
        for result in results
        if result.status == "failed"
    ]
    tried = [result.params for result in results if result.status in ("completed", "diverged")]
    specs = [search.spec(workspace, point, seed=seed) for point in tried for seed in plan.seeds]
    return _each(plan, specs, "validation", hooks), failed


def _each(plan: Plan, specs: Sequence[RunSpec], split: str, hooks: Hooks) -> list[RunRecord]:
    """Bring runs to their records: first those that no other process is at, then wait for the rest."""
    files = plan.request.loss_files
    tuning = plan.protocol
    found = [try_run(plan.workspace, spec, split, hooks, tuning=tuning, files=files, wait=False) for spec in specs]
    return [
        record or run(plan.workspace, spec, split, hooks, tuning=tuning, files=files)
        for spec, record in zip(specs, found, strict=True)
    ]


def _splits(plan: Plan) -> tuple[str, ...]:
    return ("validation", "test") if plan.final_seeds else ("validation",)


def _hooks(plan: Plan, progress: Progress, stop: Stop) -> Hooks:
    steps = plan.workspace.train.steps

    def step(spec: RunSpec, number: int, row: dict[str, float | None]) -> None:
        stop.training = number < steps
        extra = round(EVALUATION_UNITS * steps) if number == steps else 0
        setting = " ".join(f"{name}={value:g}" for name, value in spec.params.items())
        what = f"{spec.objective} {setting} seed {spec.seed}"
        progress.advance(
            plan.workspace.execution.log_every + extra,
            f"{what} · {'evaluating' if number == steps else f'step {number}/{steps}'} · loss {row['loss']:.4g}",
        )

    return Hooks(step=step, note=progress.note, should_stop=lambda: stop.asked)


def plan_units(plan: Plan) -> int:
    """Units of work that the plan has, for its progress."""
    steps = plan.workspace.train.steps
    return plan.runs * (steps + round(EVALUATION_UNITS * steps))


@contextmanager
def _stoppable() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM during training into a request; a second one, or one elsewhere, stops now."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked or not stop.training:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _helpers(workers: int) -> Iterator[None]:
    """Start ``workers − 1`` copies of this command that join the same studies; end them with this process."""
    if workers == 1:
        yield
        return
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    command = [sys.executable, "-m", "bench", *sys.argv[1:], "--helper"]
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    helpers = [subprocess.Popen(command, env=environment) for _ in range(workers - 1)]
    try:
        yield
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()

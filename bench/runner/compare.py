"""A comparison: sweep each objective, select on validation, train the best again, report on test."""

import math
import shutil
import time

from bench.core.record import RunRecord
from bench.runner.hooks import hooks_of, units_of
from bench.runner.messages import Span
from bench.runner.plan import Plan
from bench.runner.pool import run_pool
from bench.runner.race_history import history_path
from bench.runner.resources import (
    Machine,
    Workers,
    choose_workers,
    environment_threads,
    parameters_in,
    start_method,
    this_machine,
    workers_of,
)
from bench.runner.scheduler import Limits, Retry, gather, open_schedule, work
from bench.runner.search import finished_runs
from bench.utils.progress import Progress
from bench.utils.stop_signals import stoppable

__all__ = ["compare", "idle_share", "plan_units", "workers_for"]


def compare(plan: Plan, progress: Progress, *, crew: Workers | None = None) -> tuple[list[RunRecord], list[str]]:
    """Run a whole plan, doing only what is missing: in this process, or by as many workers as ``crew`` has.

    Returns:
        The records it stands on, and one line for each setting that failed: others went on without it.

    Raises:
        RunError, UsageError: what went wrong outside of trials, whose faults are among the failures.
        KeyboardInterrupt: the user asked to stop; what resuming needs is on disk.
    """
    seconds = plan.request.limit.seconds
    limits = Limits(deadline=None if seconds is None else time.monotonic() + seconds)
    crew = crew or workers_for(plan)
    if not plan.request.resume:
        _forget(plan)
    retry: Retry | None = None
    with stoppable() as stop:
        if crew.workers > 1:
            cuda = this_machine().cuda and plan.workspace.execution.device != "cpu"
            method = start_method(cuda=cuda)
            if method == "spawn":
                progress.note("workers are started afresh: here a fork is not safe, so each one loads model and data")
            retry, spans = run_pool(plan, crew, progress, method=method, limits=limits)
            if spans:
                share = 1 - idle_share(spans, workers=crew.workers)
                progress.note(f"{crew.workers} workers of {crew.threads} thread(s), at work {share:.0%} of the time")
        hooks = hooks_of(plan, advance=progress.advance, note=progress.note, stop=stop, milestone=progress.milestone)
        agenda = open_schedule(plan, hooks, retry=retry)
        work(agenda, limits)
        return gather(agenda)


def workers_for(plan: Plan, *, machine: Machine | None = None, parameters: int | None = None) -> Workers:
    """Return how many workers a plan gets on this machine: as many as the request has, else as many as pay.

    Args:
        machine: another one than this.
        parameters: of the model, where its weights are not here; None: they are counted.
    """
    machine, threads = machine or this_machine(), environment_threads()
    if plan.request.workers is not None:
        return workers_of(machine, workers=plan.request.workers, threads=threads)
    trials = sum(search.trials for search in plan.searches)
    return choose_workers(
        machine,
        parameters=parameters_in(plan.workspace.model) if parameters is None else parameters,
        runs=max(trials, len(plan.searches) * len(plan.sure_seeds)),
        processes=plan.request.processes,
        threads=threads,
    )


def idle_share(spans: list[Span], *, workers: int) -> float:
    """Return the share of time, from the first piece of work to the end of the last one, in which workers waited."""
    wall = max(span.ended for span in spans) - min(span.started for span in spans)
    worked = math.fsum(span.ended - span.started for span in spans)
    return max(0.0, 1 - worked / (wall * workers)) if wall > 0 else 0.0


def _forget(plan: Plan) -> None:
    """Remove every run of a plan and its unfinished work, so that it is computed afresh (``--no-resume``)."""
    results, tuning = plan.workspace.results, plan.protocol
    for search in plan.searches:
        for point in search.points:
            for seed in (*plan.seeds, *plan.further_seeds, *plan.final_seeds):
                spec = search.spec(plan.workspace, point, seed=seed)
                for place in (f"runs/{spec.key}", f"work/{spec.key}", f"runs/{spec.pruned_key(tuning.hash)}"):
                    shutil.rmtree(results / place, ignore_errors=True)
    history_path(results, tuning.hash).unlink(missing_ok=True)


def plan_units(plan: Plan) -> int:
    """Return the units of work that are left of the plan when a command begins, for its progress.

    A race counts up to its first look; each look adds what the next one takes.
    """
    done = 0
    for search in plan.searches if plan.request.resume else ():
        done += sum(finished_runs(search, plan.workspace, seeds=plan.seeds, final_seeds=plan.sure_seeds))
    later = len(plan.searches) * (len(plan.final_seeds) - len(plan.sure_seeds))
    later += sum(len(search.points) for search in plan.searches) * len(plan.further_seeds)
    return max(1, plan.runs - later - done) * units_of(plan.workspace.train.steps)

"""A worker that joins a study: its plans from the storage, and this machine's part of the work."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.core.request import RunRequest
from bench.errors import BenchError, RunError, UsageError
from bench.utils.console import say
from bench.utils.event_log import command_log
from bench.utils.process import loading, quiet_libraries

if TYPE_CHECKING:
    from bench.runner.plan import Plan
    from bench.runner.resources import Workers
    from bench.runner.scheduler import Limits
    from bench.runner.study_manifest import StoredPlan
    from bench.utils.progress import Progress


def join_command(own: RunRequest, *, most: int | None, idle: float | None) -> None:
    """Work on every plan of a study until it is done, or a limit is reached.

    Args:
        own: the fields that replace those of the study's request on this machine; its settings are of ``execution``.
        most: settings and finals after which to leave; None for no limit.
        idle: seconds with nothing to do after which to leave; None for no limit.

    Raises:
        UsageError: an unknown study, or one opened for other work than this machine would do.
    """
    quiet_libraries()
    console = Console()
    with loading():
        import torch

        # Of this process workers may be forked: see ``bench.cli.execute``.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        from bench.models.matmul import take_route
        from bench.runner.compare import plan_units, workers_for
        from bench.runner.plan import make_plan
        from bench.runner.scheduler import Limits
        from bench.runner.study_manifest import check_agrees
        from bench.utils.files import writable
        from bench.utils.progress import Progress

        began = time.monotonic()
        _check_settings(own.settings)
    for stored in _look_up(own):
        request = own.over(stored.request)
        results = request.results
        if not (results / "studies").is_dir():
            raise UsageError(
                f"results folder {results} of study {own.study!r} is not on this machine",
                fix="workers share one folder: give its path on this machine by --out",
            )
        writable(results)
        plan = make_plan(request)
        check_agrees(plan, stored)
        crew = workers_for(plan)
        if crew.workers == 1:
            torch.set_num_threads(threads)
        take_route()
        with (
            command_log(results, "worker", arguments=sys.argv[1:], make=True),
            Progress(console, total=plan_units(plan), threaded=crew.workers == 1) as progress,
        ):
            done = join_plan(plan, crew, progress, Limits(most=most, idle=idle, deadline=_deadline(request, began)))
        names = ", ".join(search.objective.name for search in plan.searches)
        result = "done; the `bench run` that opened it writes its leaderboard" if done else "left to the other workers"
        say(console, f"{own.study}: {names}: {result}")


def join_plan(plan: "Plan", crew: "Workers", progress: "Progress", limits: "Limits") -> bool:
    """Do this machine's part of a plan. What failed before is not tried again: ``bench run`` does that once for all.

    Returns:
        Whether the plan is done; False where a limit came first.
    """
    from bench.runner.hooks import hooks_of
    from bench.runner.pool import run_pool
    from bench.runner.resources import start_method, this_machine
    from bench.runner.scheduler import is_done, open_schedule, work
    from bench.utils.stop_signals import stoppable

    retry = [frozenset[int]() for _ in plan.searches]
    with stoppable() as stop:
        hooks = hooks_of(plan, advance=progress.advance, note=progress.note, stop=stop, milestone=progress.milestone)
        if crew.workers == 1:
            return work(open_schedule(plan, hooks, retry=retry), limits)
        cuda = this_machine().cuda and plan.workspace.execution.device != "cpu"
        run_pool(plan, crew, progress, method=start_method(cuda=cuda), retry=retry, limits=limits)
        return is_done(open_schedule(plan, hooks, retry=retry))


def _deadline(request: RunRequest, began: float) -> float | None:
    """Return when this worker's own time is over: a budget of time is each command's."""
    seconds = request.limit.seconds
    return None if seconds is None else began + seconds


def _check_settings(settings: tuple[str, ...]) -> None:
    """Refuse settings that would change the work itself: a worker only fits it to its machine."""
    for text in settings:
        if not text.strip().startswith("execution."):
            raise UsageError(
                f"--set: a worker sets execution.… only (got {text!r})",
                fix="for example --set execution.micro_batch=2; all else was fixed when `bench run` opened the study",
            )


def _look_up(own: RunRequest) -> "list[StoredPlan]":
    """Return the stored plans of a study, read in a process of its own: connections do not survive a fork."""
    from bench.runner.storage import posts_url
    from bench.runner.study_manifest import read_stored_plans

    study, results = own.study or "", own.results if "results" in own.model_fields_set else None
    if own.storage is None and results is None:
        raise UsageError(
            "bench worker needs a storage or a results folder",
            fix="--storage URL (or LOSSBENCH_STORAGE), or --out FOLDER where the study has its journals",
        )
    url = posts_url(study, own.storage, results or Path())
    if own.storage is None and not Path(url.removeprefix("journal:")).exists():
        raise UsageError(
            f"results folder {results} has no study {study!r}",
            fix=f"open it with `bench run … --study {study} --out {results}`, or give its --storage",
        )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        answer = pool.submit(_read, url, study).result()
    if isinstance(answer, tuple):
        kind, problem, fix = answer
        raise (UsageError if kind == "usage" else RunError)(problem, fix=fix)
    return read_stored_plans(answer, study=study)


def _read(url: str, study: str) -> dict[str, object] | tuple[str, str, str | None]:
    from bench.runner.storage import storage_faults
    from sweeps.patience import PATIENCE_SECONDS, Patience
    from sweeps.shared_values import posts
    from sweeps.storage import open_storage

    try:
        with storage_faults():
            # Nobody watches a worker that a scheduler started: it waits for its storage from the start.
            return posts(open_storage(url, patience=Patience(opening=PATIENCE_SECONDS)), study)
    except BenchError as error:
        return ("usage" if isinstance(error, UsageError) else "run", error.problem, error.fix)

"""``bench worker``: what a study is, read from its storage; this machine's part of the work, without reports."""

import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.errors import BenchError, RunError, UsageError
from bench.utils.event_log import command_log
from bench.utils.process import loading, quiet_libraries

if TYPE_CHECKING:
    from bench.runner.plan import Plan
    from bench.runner.resources import Workers
    from bench.runner.scheduler import Limits
    from bench.runner.study_manifest import Posted
    from bench.utils.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Joining:
    """One ``bench worker``, as typed: None where the study's own word holds. ``settings`` are of ``execution`` only."""

    study: str
    storage: str | None
    results: Path | None
    workers: int | None
    most: int | None
    idle: float | None
    model: str | None
    data: tuple[Path, ...]
    loss_files: tuple[Path, ...]
    settings: tuple[str, ...]
    trackers: tuple[str, ...]

    @property
    def own(self) -> Mapping[str, Any]:
        """What takes the place of the posted request's fields."""
        return {
            "study": self.study,
            "storage": self.storage,
            "results": self.results,
            "workers": self.workers,
            "model": self.model,
            "data": self.data or None,
            "loss_files": self.loss_files or None,
            "settings": self.settings,
            "trackers": self.trackers,
        }


def join_command(joining: Joining) -> None:
    """Work on every plan of a study until it is done, or a limit is reached.

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
        from bench.models.matmul import take_fastest_route
        from bench.runner.compare import plan_units, workers_for
        from bench.runner.plan import check_study_name, make_plan
        from bench.runner.scheduler import Limits
        from bench.runner.study_manifest import check_agrees, request_of
        from bench.utils.files import writable
        from bench.utils.progress import Progress

        check_study_name(joining.study)
        _check_settings(joining.settings)
    for posted in _look_up(joining):
        results = joining.results or posted.request.results
        if not (results / "studies").is_dir():
            raise UsageError(
                f"results folder {results} of study {joining.study!r} is not on this machine",
                fix="workers share one folder: give its path on this machine by --out",
            )
        writable(results)
        plan = make_plan(request_of(posted, joining.own))
        check_agrees(plan, posted)
        crew = workers_for(plan)
        if crew.workers == 1:
            torch.set_num_threads(threads)
        take_fastest_route()
        with (
            command_log(results, "worker", arguments=sys.argv[1:], make=True),
            Progress(console, total=plan_units(plan), threaded=crew.workers == 1) as progress,
        ):
            done = join_plan(plan, crew, progress, Limits(most=joining.most, idle=joining.idle))
        names = ", ".join(search.objective.name for search in plan.searches)
        what = "done; the `bench run` that opened it writes its leaderboard" if done else "left to the other workers"
        console.print(f"{joining.study}: {names}: {what}", highlight=False, markup=False, soft_wrap=True)


def join_plan(plan: "Plan", crew: "Workers", progress: "Progress", limits: "Limits") -> bool:
    """Do this machine's part of a plan. What failed before is not tried again: ``bench run`` does that once for all.

    Returns:
        Whether the plan is done; False where a limit came first.
    """
    from bench.runner.hooks import hooks_of, stoppable
    from bench.runner.pool import run_pool
    from bench.runner.resources import start_method, this_machine
    from bench.runner.scheduler import is_done, open_schedule, work

    retry = [frozenset[int]() for _ in plan.searches]
    with stoppable() as stop:
        hooks = hooks_of(plan, advance=progress.advance, note=progress.note, stop=stop)
        if crew.workers == 1:
            return work(open_schedule(plan, hooks, retry=retry), limits)
        cuda = this_machine().cuda and plan.workspace.execution.device != "cpu"
        run_pool(plan, crew, progress, method=start_method(cuda=cuda), retry=retry, limits=limits)
        return is_done(open_schedule(plan, hooks, retry=retry))


def _check_settings(settings: tuple[str, ...]) -> None:
    """A worker may fit the work to its machine, but not change what the work is."""
    for text in settings:
        if not text.strip().startswith("execution."):
            raise UsageError(
                f"--set {text}: what a study trains is settled when `bench run` opens it",
                fix="a worker sets execution.… only, as in --set execution.micro_batch=2",
            )


def _look_up(joining: Joining) -> "list[Posted]":
    """Read what the study is, in a process of its own: connections do not survive the fork of workers."""
    from bench.runner.storage import posts_url
    from bench.runner.study_manifest import read_posted

    if joining.storage is None and joining.results is None:
        raise UsageError(
            "neither a storage nor a results folder is given",
            fix="--storage URL (or LOSSBENCH_STORAGE), or --out FOLDER where the study has its journals",
        )
    url = posts_url(joining.study, joining.storage, joining.results or Path())
    if joining.storage is None and not Path(url.removeprefix("journal:")).exists():
        raise UsageError(
            f"results folder {joining.results} knows no study {joining.study!r}",
            fix=f"open it with `bench run … --study {joining.study} --out {joining.results}`, or give its --storage",
        )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(_read, url, joining.study).result()
    if isinstance(found, tuple):
        kind, problem, fix = found
        raise (UsageError if kind == "usage" else RunError)(problem, fix=fix)
    return read_posted(found, study=joining.study)


def _read(url: str, study: str) -> dict[str, object] | tuple[str, str, str | None]:
    from bench.runner.storage import storage_faults
    from sweeps.patience import PATIENCE_SECONDS, Patience
    from sweeps.posts import posts
    from sweeps.storage import open_storage

    try:
        with storage_faults():
            # Nobody sits before a worker that a scheduler started: it waits for its storage from the start.
            return posts(open_storage(url, patience=Patience(opening=PATIENCE_SECONDS)), study)
    except BenchError as error:
        return ("usage" if isinstance(error, UsageError) else "run", error.problem, error.fix)

"""What ``bench run`` does once its request is read: plan, train, report; or open a study for workers."""

import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console

from bench.core.request import RunRequest
from bench.errors import RunError, UsageError
from bench.utils.console import say
from bench.utils.event_log import command_log
from bench.utils.files import writable
from bench.utils.process import loading, quiet_libraries
from bench.utils.redact import for_terminal

if TYPE_CHECKING:
    from bench.runner.plan import Plan
    from bench.runner.resources import Workers


def run_command(request: RunRequest, *, dry_run: bool) -> None:
    """Plan, compare, write leaderboard, figures and page, and print the summary, for ``bench run``."""
    if dry_run:
        plan_command(request)
        return
    quiet_libraries()
    console = Console()
    with loading():
        import torch

        threads = torch.get_num_threads()
        if request.workers != 1:
            # A process that may be forked never starts OpenMP's threads: a child would wait for them for ever.
            torch.set_num_threads(1)
        from bench.models.matmul import take_route
        from bench.runner.compare import workers_for
        from bench.runner.plan import make_plan

        writable(request.results)
        plan = make_plan(request, note=lambda text: say(console, for_terminal(text)))
        crew = workers_for(plan)
        if crew.workers == 1:
            torch.set_num_threads(threads)
        take_route()
    # Not before: a request that is refused leaves nothing behind.
    with command_log(request.results, "run", arguments=sys.argv[1:], make=True):
        _do(plan, crew, console)


def plan_command(request: RunRequest) -> None:
    """Print what a run would take, for ``--dry-run``: no weights are loaded, and nothing is left behind."""
    quiet_libraries()
    console = Console()
    with loading(), TemporaryDirectory(prefix="bench-plan-") as scratch:
        from bench.models.matmul import take_route
        from bench.runner.estimate.forecast import forecast
        from bench.runner.estimate.outline import make_outline
        from bench.runner.estimate.table import plan_lines, plan_table
        from bench.utils.files import could_be_written

        could_be_written(request.results)
        take_route()
        started = time.process_time()
        outline = make_outline(request, scratch=Path(scratch), note=lambda text: say(console, for_terminal(text)))
        made = forecast(outline, started=started)
        console.print(plan_table(made))
        for line in plan_lines(made):
            say(console, for_terminal(line))


def _do(plan: "Plan", crew: "Workers", console: Console) -> None:
    with loading():
        from bench.cli.closing import closing_lines
        from bench.core.outputs import remember
        from bench.report.analysis.analysis import analyse, analyse_folder
        from bench.report.analysis.costs import write_costs
        from bench.report.analysis.pruning import pruning_text
        from bench.report.figures.write import write_figures
        from bench.report.page.render import write_page
        from bench.report.tables.leaderboard import write_leaderboard
        from bench.report.tables.summary import summary_table
        from bench.runner.compare import compare, plan_units
        from bench.utils.progress import Progress

    request = plan.request
    with Progress(console, total=plan_units(plan), threaded=crew.workers == 1) as progress:
        records, failures = compare(plan, progress, crew=crew)
    analysis = analyse_folder(request.results)
    tables = write_leaderboard(request.results, analysis=analysis)
    figures = write_figures(request.results, analysis=analysis)
    images = [path for path in figures if path.suffix == ".png"]
    # the folder's table ranks all of them; this command's come last, where people look
    own = {(record.key, record.evaluation_key) for record in records}
    mine = [bool(own & {(r.key, r.evaluation_key) for r in one.group.records}) for one in analysis.comparisons]
    for last in (False, True):
        chosen = [one for one, is_mine in zip(analysis.comparisons, mine, strict=True) if is_mine is last]
        console.print(summary_table(chosen, others=last))
    for pruning in analyse(records).pruning:
        say(console, pruning_text(pruning))
    page = write_page(request.results, analysis=analysis)
    costs = write_costs(request.results, analysis.costs)
    remember(request.results, (*tables.written, costs, *figures, page))
    for path in (*tables.written, costs, *images, page):
        say(console, f"  {path}")
    for line in closing_lines(analysis, request.results):
        say(console, for_terminal(line))
    if failures:
        raise RunError(
            f"{len(failures)} of {sum(search.trials for search in plan.searches)} settings failed; {failures[0]}",
            fix="mend the cause; the same command does only what is missing",
        )


def open_command(request: RunRequest) -> None:
    """Check the whole plan and open its study, for ``bench run --open``: workers do the rest."""
    quiet_libraries()
    console = Console()
    if request.study is None:
        raise UsageError("--open needs a name for the study, which workers join by", fix="--study NAME")
    with loading():
        from bench.runner.hooks import hooks_of
        from bench.runner.plan import make_plan
        from bench.runner.scheduler import open_schedule
        from bench.utils.stop_signals import stoppable

        writable(request.results)
        plan = make_plan(request)
    with stoppable() as stop:
        note = partial(say, console)
        open_schedule(plan, hooks_of(plan, advance=lambda units, text: None, note=note, stop=stop), retry=None)
        most = "at most " if plan.race is not None else ""
        note(f"study {request.study} is open: {most}{plan.runs} trainings; join it with")
        option = "" if request.storage is None else " --storage …"
        note(f"  bench worker --study {request.study} --out {request.results.absolute()}{option}")

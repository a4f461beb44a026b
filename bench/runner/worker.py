"""A worker process, from start to exit code: prepare what all share, or work on the plan."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bench.core.request import RunRequest
from bench.errors import BenchError, UsageError
from bench.models.matmul import take_route
from bench.runner.hooks import Hooks, hooks_of
from bench.runner.messages import Advance, Failure, Milestone, Note, Opened, Span
from bench.runner.plan import Plan, make_plan
from bench.runner.reference import open_planned
from bench.runner.resources import Workers
from bench.runner.scheduler import NO_LIMITS, Limits, Retry, is_done, open_schedule, work
from bench.utils.event_log import join_log, log_event
from bench.utils.process import quiet_libraries
from bench.utils.stop_signals import ECHO_SECONDS, SIGNALS, STOPPED, Stop, stoppable


@dataclass(frozen=True, kw_only=True)
class Order:
    """The task of a worker. A forked one has its parent's plan in memory; another one makes it from the request.

    ``retry``: None where the failures of earlier commands are still to be looked up.
    """

    plan: Plan | None
    request: RunRequest
    crew: Workers
    retry: Retry | None
    parent: int
    limits: Limits = NO_LIMITS


Task = Callable[[Plan, Order, Connection, Hooks], None]


def serve(task: Task, order: Order, pipe: Connection) -> None:
    """Do a task in this process and exit. SIGTERM stops it; Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stoppable(by=(signal.SIGTERM,), echo_seconds=ECHO_SECONDS) as stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        join_log()
        log_event("worker_started", {"task": task.__name__})
        try:
            plan = _plan(order)
            task(plan, order, pipe, _hooks(plan, order, pipe, stop))
        except (KeyboardInterrupt, BrokenPipeError):
            log_event("worker_stopped", {"task": task.__name__})
            sys.exit(STOPPED)
        except Exception as error:
            log_event("worker_failed", {"task": task.__name__, "error": str(error)}, level=logging.ERROR)
            _send_failure(error, pipe)
            sys.exit(1)
        log_event("worker_ended", {"task": task.__name__})


def open_and_prepare(plan: Plan, order: Order, pipe: Connection, hooks: Hooks) -> None:
    """Open the studies, and compute on all cores what the trainings that are sure to come read of the reference.

    Sends ``Opened``: what is tried again, and whether everything is there already.
    """
    import torch

    agenda = open_schedule(plan, hooks, retry=order.retry)
    done = is_done(agenda)
    pipe.send(Opened(retry=agenda.retry, done=done))
    if not done:
        torch.set_num_threads(order.crew.workers * order.crew.threads)
        open_planned(plan, hooks)


def work_on(plan: Plan, order: Order, pipe: Connection, hooks: Hooks) -> None:
    """Work on the plan until it is done, or a limit is reached."""
    import torch

    torch.set_num_threads(order.crew.threads)
    work(open_schedule(plan, hooks, retry=order.retry), order.limits)


def _plan(order: Order) -> Plan:
    if order.plan is not None:
        return order.plan
    quiet_libraries()
    take_route()
    return make_plan(order.request)


def _hooks(plan: Plan, order: Order, pipe: Connection, stop: Stop) -> Hooks:
    import torch

    def advance(units: int, text: str) -> None:
        pipe.send(Advance(units=units, text=text))

    def busy(started: float, ended: float) -> None:
        pipe.send(Span(worker=os.getpid(), started=started, ended=ended))

    def place(position: int, total: int) -> None:
        threads = order.crew.threads_of(position, total)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    return hooks_of(
        plan,
        advance=advance,
        note=lambda text: pipe.send(Note(text=text)),
        stop=stop,
        orphaned=lambda: os.getppid() != order.parent,
        busy=busy,
        place=place,
        milestone=lambda text, units: pipe.send(Milestone(text=text, units=units)),
    )


def _send_failure(error: Exception, pipe: Connection) -> None:
    if isinstance(error, BenchError):
        pipe.send(Failure(usage=isinstance(error, UsageError), problem=error.problem, fix=error.fix))
        return
    problem = f"a worker failed: {type(error).__name__}: {error}"
    if "--debug" in sys.argv:
        problem += "\n" + "".join(traceback.format_exception(error))
    pipe.send(Failure(usage=False, problem=problem, fix="add --debug for the traceback"))

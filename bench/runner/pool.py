"""The worker processes of a command: started from one resident parent, followed, replaced, and ended with it."""

import gc
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bench.errors import RunError, UsageError
from bench.runner.messages import Advance, Failure, Message, Milestone, Note, Opened, Span
from bench.runner.plan import Plan
from bench.runner.reference import shared_parts
from bench.runner.resources import StartMethod, Workers
from bench.runner.scheduler import NO_LIMITS, Limits, Retry
from bench.runner.worker import Order, Task, open_and_prepare, serve, work_on
from bench.utils.event_log import log_event
from bench.utils.progress import Progress
from bench.utils.stop_signals import SIGNALS

GRACE_SECONDS = 8.0
"""Time in which a worker that has to stop saves what it has; then it is ended."""
LOOK_SECONDS = 0.5


@dataclass(kw_only=True)
class _Fleet:
    """The workers of one command by their pipes, and what they reported; ``deaths`` since a success."""

    order: Order
    method: StartMethod
    progress: Progress
    workers: dict[Connection, BaseProcess] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    opened: Opened | None = None
    deaths: int = 0


def run_pool(
    plan: Plan,
    crew: Workers,
    progress: Progress,
    *,
    method: StartMethod,
    retry: Retry | None = None,
    limits: Limits = NO_LIMITS,
) -> tuple[Retry, list[Span]]:
    """Have ``crew.workers`` processes do a plan together. Returns what they tried again, and when each one worked.

    The parent does no computation, so that forking it is safe: a first child computes what all workers share, and the
    parent then loads it. A worker that is killed is replaced, and its trial tried once more.

    Args:
        retry: failed trials to be tried again; None: those that the studies have now.
        limits: for all workers together.

    Raises:
        RunError, UsageError: a worker's error. RunError: workers are killed again and again.
        KeyboardInterrupt: the user asked to stop; every worker has ended, and what resuming needs is on disk.
    """
    order = Order(
        plan=plan if method == "fork" else None,
        request=plan.request,
        crew=crew,
        retry=retry,
        parent=os.getpid(),
    )
    fleet = _Fleet(order=order, method=method, progress=progress)
    try:
        _start(fleet, open_and_prepare)
        if method == "fork":
            _load(plan)
        _follow(fleet, open_and_prepare)
        assert fleet.opened is not None
        retried = fleet.opened.retry
        if fleet.opened.done:
            return retried, []
        if method == "fork":
            _load_references(plan)
        for place in range(crew.workers):
            fleet.order = replace(order, retry=retried, limits=limits.share(place, workers=crew.workers))
            _start(fleet, work_on)
        _follow(fleet, work_on)
    finally:
        _end(list(fleet.workers.values()))
    return retried, fleet.spans


def _load(plan: Plan) -> None:
    """Load what workers only read, before they are forked."""
    workspace = plan.workspace
    _ = workspace.start_model
    _ = workspace.gold


def _load_references(plan: Plan) -> None:
    if parts := shared_parts(plan):
        plan.workspace.training_references(tuple(part.resolve() for part in parts))
    # Objects that the collector never looks at again stay on pages that workers share.
    gc.collect()
    gc.freeze()


def _start(fleet: _Fleet, task: Task) -> None:
    context = get_context("fork") if fleet.method == "fork" else get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(task, fleet.order, sender))
    with _signals_blocked(), _threads_in_environment(fleet.order.crew.threads):
        process.start()
    sender.close()
    fleet.workers[receiver] = process


def _follow(fleet: _Fleet, task: Task) -> None:
    """Listen until every worker has ended; one that was killed is replaced."""
    while fleet.workers:
        for pipe in wait(list(fleet.workers), timeout=LOOK_SECONDS):
            assert isinstance(pipe, Connection)
            try:
                _receive(fleet, pipe.recv())
            except EOFError:
                _replace(fleet, pipe, task)
        fleet.progress.refresh()


def _receive(fleet: _Fleet, message: Message) -> None:
    """Take in a worker's message. Raises the error that ended it."""
    match message:
        case Advance():
            fleet.progress.advance(message.units, message.text)
        case Note():
            fleet.progress.note(message.text)
        case Milestone():
            fleet.progress.milestone(message.text, message.units)
        case Span():
            fleet.spans.append(message)
            fleet.deaths = 0
        case Opened():
            fleet.opened = message
        case Failure():
            raise (UsageError if message.usage else RunError)(message.problem, fix=message.fix)


def _replace(fleet: _Fleet, pipe: Connection, task: Task) -> None:
    """Remove a worker that ended. One that was killed is replaced: its lease ends, and its point is free again."""
    process = fleet.workers.pop(pipe)
    pipe.close()
    process.join()
    code = process.exitcode
    if code == 0:
        return
    fleet.deaths += 1
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    if fleet.deaths > 2 * fleet.order.crew.workers:
        raise RunError(
            f"worker processes end again and again, the last one by {how}",
            fix="signal 9 mostly means that memory is short: --workers 1, or a smaller --set execution.micro_batch",
        )
    log_event("worker_died", {"pid": process.pid, "how": how}, level=logging.WARNING)
    fleet.progress.note(f"a worker ended by {how}; another one takes its place")
    _start(fleet, task)


def _end(processes: Sequence[BaseProcess]) -> None:
    """End what still runs: by SIGTERM, so that a training saves its state; then, or at a second Ctrl-C, at once."""
    try:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Hold signals back until a new process has handlers of its own; it lets them through itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """Give a spawned process its threads before it imports anything that reads them."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before

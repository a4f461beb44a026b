"""Owns running tasks in forked workers, as many at once and on as many threads each as ``bench`` gives a sweep."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TypeVar

import torch

from bench.errors import RunError
from bench.runner.resources import Workers

Result = TypeVar("Result")


def forked(tasks: Sequence[Callable[[], Result]], crew: Workers) -> list[Result]:
    """Do each task in a fork of this process, and return what they returned, in order.

    This process must not have started OpenMP's threads. Raises RunError where a task fails.
    """
    found: dict[int, Result] = {}
    working: dict[Connection, int] = {}
    for place, task in enumerate(tasks):
        if len(working) == crew.workers:
            _collect(working, found)
        working[_started(task, threads=crew.threads_of(place, len(tasks)))] = place
    while working:
        _collect(working, found)
    return [found[place] for place in range(len(tasks))]


def _started(task: Callable[[], Result], *, threads: int) -> Connection:
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        torch.set_num_threads(threads)
        sender.send(task())

    context.Process(target=work).start()
    sender.close()
    return receiver


def _collect(working: dict[Connection, int], found: dict[int, Result]) -> None:
    """Wait until a task is done."""
    for pipe in wait(list(working)):
        assert isinstance(pipe, Connection)
        place = working.pop(pipe)
        try:
            found[place] = pipe.recv()
        except EOFError:
            raise RunError(f"task {place} failed; its error stands above") from None

"""Processes that work on parts of large data, and hand the results back in order.

Each is a fresh Python, started as ``python -m bench.data.crew``: it inherits neither the threads of this process (a
fork after torch has started some may hang) nor its main module (which a script without a guard would run again).
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import bench
from bench.errors import RunError
from bench.utils.cores import available_cores

Job = TypeVar("Job")
Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2
"""Parts that a process has waiting for it, so that it is never idle while results are taken in."""
VARIABLE = "LOSSBENCH_DATA_PROCESSES"


def crew_size() -> int:
    """Return how many processes read and encode large data: one a core, or as ``LOSSBENCH_DATA_PROCESSES`` says."""
    value = os.environ.get(VARIABLE, "")
    return max(1, int(value)) if value.isdecimal() else available_cores()


def parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut items into consecutive lists of ``size``, the last maybe smaller."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def in_order(
    work: Callable[[Job, Item], Result], job: Job, items: Iterable[Item], *, processes: int
) -> Iterator[Result]:
    """Yield ``work(job, item)`` of each item, in the order of the items; with one process, computed in this one.

    ``work`` is a function of a module, and everything that crosses over can be pickled. An exception of ``work`` is
    raised here, in its place in the order.

    Raises:
        RunError: a process was killed.
    """
    if processes < 2:
        yield from (work(job, item) for item in items)
        return
    started = pickle.dumps((work, job))
    crew = [_start(started) for _ in range(processes)]
    try:
        yield from _dealt(crew, iter(items))
    finally:
        for process in crew:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    cast(BinaryIO, pipe).close()


def _dealt(crew: list["subprocess.Popen[bytes]"], items: Iterator[Item]) -> "Iterator[Result]":
    """Deal items out in turn, a few ahead of each process, and take the results in the same order."""
    busy: deque[subprocess.Popen[bytes]] = deque()
    for turn, item in enumerate(items):
        process = crew[turn % len(crew)]
        _send(process, item)
        busy.append(process)
        if len(busy) >= AHEAD * len(crew):
            yield _result(busy.popleft())
    while busy:
        yield _result(busy.popleft())


def _start(work: bytes) -> "subprocess.Popen[bytes]":
    folder = str(Path(bench.__file__).parents[1])
    paths = [folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.data.crew"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    _write(cast(BinaryIO, process.stdin), work)
    return process


def _send(process: "subprocess.Popen[bytes]", item: object) -> None:
    try:
        _write(cast(BinaryIO, process.stdin), pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL))
    except BrokenPipeError:
        raise _killed(process) from None


def _result(process: "subprocess.Popen[bytes]") -> "Result":  # type: ignore[type-var]
    content = _read(cast(BinaryIO, process.stdout))
    if content is None:
        raise _killed(process)
    error, result = pickle.loads(content)
    if error is not None:
        raise error
    return cast(Result, result)


def _killed(process: "subprocess.Popen[bytes]") -> RunError:
    return RunError(
        f"a process that prepares the data ended with code {process.wait()}",
        fix=f"free some memory, or use fewer: {VARIABLE}=1",
    )


def _write(pipe: BinaryIO, content: bytes) -> None:
    pipe.write(len(content).to_bytes(8, "little"))
    pipe.write(content)
    pipe.flush()


def _read(pipe: BinaryIO) -> bytes | None:
    length = pipe.read(8)
    return pipe.read(int.from_bytes(length, "little")) if len(length) == 8 else None


def _serve() -> None:
    """Work on what comes in through the standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that gave the work decides
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no result
    source = sys.stdin.buffer
    first = _read(source)
    if first is None:
        return
    work, job = pickle.loads(first)
    waiting: queue.Queue[bytes | None] = queue.Queue()

    def take() -> None:
        while True:
            content = _read(source)
            waiting.put(content)
            if content is None:
                return

    # Taken in beside the work: two processes that both write, and neither of which reads, would wait for ever.
    threading.Thread(target=take, daemon=True).start()
    while (content := waiting.get()) is not None:
        answer: tuple[Exception | None, object]
        try:
            answer = None, work(job, pickle.loads(content))
        except Exception as error:
            answer = error, None
        _write(results, pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        _serve()

"""One rank, from start to exit code: a job from its folder, and an end in good order.

``torchrun --nproc_per_node 2 -m bench.train RUN_DIR`` and ``accelerate launch -m bench.train RUN_DIR`` start ranks.
"""

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from bench.errors import BenchError, RunError, UsageError
from bench.train.distributed.torchrun import STOP
from bench.train.job import TrainJob, lease, run_job
from bench.utils.event_log import join_log

USAGE = "usage: torchrun --nproc_per_node N -m bench.train RUN_DIR"
LAUNCHER, ROUTE = "LOSSBENCH_LAUNCHER", "LOSSBENCH_MATMUL"
"""Environment variables: the process that started the ranks, and the route of its matrix products."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130
"""Exit code of a rank that was told to stop and has saved its state."""
LOST = ("connection closed", "connection reset", "broken pipe", "timed out", "timeout", "nccl", "gloo")
"""Words in the errors that a rank meets when another one is gone."""
PATIENCE_SECONDS = 15.0
"""How long the first rank waits for ranks of the same job that are still ending."""


@dataclass
class StopRequest:
    """Whether this rank was told to stop. Before the first step there is nothing to save: it stops at once.

    A second signal says nothing new: a terminal reaches the ranks, and torchrun tells them once more.
    """

    asked: bool = False
    training: bool = False


def main(arguments: list[str]) -> int:
    """Run the job in the folder that the command line names; progress goes to its ``progress.jsonl``."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    work = Path(arguments[0])
    join_log()
    try:
        with stoppable() as wish:
            try:
                _run(work, wish)
            except RuntimeError as error:
                if wish.asked:  # a rank that was told before this one has gone
                    raise KeyboardInterrupt from error
                if not any(word in str(error).lower() for word in LOST):
                    raise
                raise lost(work, error) from error
    except KeyboardInterrupt:
        return STOPPED
    except BenchError as error:
        # The first rank that fails knows why; what others say follows from it.
        with contextlib.suppress(OSError), (work / "error.txt").open("x", encoding="utf-8") as file:
            file.write(str(error))
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


@contextlib.contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a wish that is heard between two steps."""
    wish = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        wish.asked = True
        if not wish.training:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lost(work: Path, error: Exception) -> RunError:
    """What a rank says whose peer is gone."""
    steps = sorted(path.name.removeprefix("state-").lstrip("0") for path in work.glob("state-*"))
    said = re.sub(r"^\[[^]]*\] *", "", str(error)).split(". ")[0]  # without the place in the library's source
    return RunError(
        f"rank {os.environ.get('RANK', '0')} lost another rank: {said}",
        fix="a rank that was killed mostly ran out of memory; the same command goes on from "
        + (f"the state after step {steps[-1]}" if steps else "the start, or sooner with --set checkpoint_every=N"),
    )


def _run(work: Path, wish: StopRequest) -> None:
    import torch

    from bench.models.matmul import take_fastest_route, take_route

    job = _read(work)
    if job.finished is not None:
        return
    route = os.environ.get(ROUTE)
    take_fastest_route() if route is None else take_route(route)
    agent, launcher = os.getppid(), int(os.environ.get(LAUNCHER, "0"))

    def should_stop() -> bool:
        wish.training = True
        # Whoever started the ranks may have been killed: nobody is left then who would end them.
        orphaned = os.getppid() != agent or (launcher > 0 and not alive(launcher))
        return wish.asked or orphaned or (work / STOP).exists()

    with _alone(job), (work / "progress.jsonl").open("a", encoding="utf-8") as lines:

        def report(step: int, row: dict[str, float | None]) -> None:
            wish.training = True
            print(json.dumps(row), file=lines, flush=True)

        run_job(job, report=report, should_stop=should_stop)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _read(work: Path) -> TrainJob:
    try:
        return TrainJob.model_validate_json((work / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise UsageError(
            f"{work} has no job to run: {str(error).splitlines()[0]}",
            fix="`bench run … --set execution.launcher=manual` writes one and says where",
        ) from error


@contextlib.contextmanager
def _alone(job: TrainJob) -> Iterator[None]:
    """Let one set of ranks at a time be at a job; those of a killed command may still be saving.

    Raises:
        RunError: others are at it and stay.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    with contextlib.ExitStack() as held:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not held.enter_context(lease(job, wait=False, name="ranks")):
            if time.monotonic() > deadline:
                raise RunError(f"other ranks are at {job.work}", fix="wait for them, or stop them: the state is kept")
            time.sleep(0.2)
        (job.work / "error.txt").unlink(missing_ok=True)
        waited_for = LAUNCHER in os.environ or job.execution.launcher == "manual"
        if not waited_for and not held.enter_context(lease(job, wait=False)):
            raise RunError(f"another command is at {job.work}", fix="wait for it: it ends with the finished run")
        yield


def alive(process: int) -> bool:
    """Whether a process of this machine still runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # systems without /proc
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True

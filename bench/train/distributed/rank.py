"""One rank, from start to exit code: a job from its folder, and an end in good order.

``torchrun --nproc_per_node 2 -m bench.train RUN_DIR`` and ``accelerate launch -m bench.train RUN_DIR`` start ranks.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bench.errors import BenchError, RunError, UsageError
from bench.train.distributed.torchrun import STOP_FILE
from bench.train.job import TrainJob, lease, run_job
from bench.utils.event_log import join_log
from bench.utils.stop_signals import ECHO_SECONDS, STOPPED, Stop, stoppable

USAGE = "usage: torchrun --nproc_per_node N -m bench.train RUN_DIR"
LAUNCHER = "LOSSBENCH_LAUNCHER"
"""Environment variable: the process that started the ranks."""
LOST_PEER_WORDS = ("connection closed", "connection reset", "broken pipe", "timed out", "timeout", "nccl", "gloo")
"""Words in the errors that a rank meets when another one is gone."""
PATIENCE_SECONDS = 15.0
"""How long the first rank waits for ranks of the same job that are still ending."""


def main(arguments: list[str]) -> int:
    """Run the job in the folder that the command line names; progress goes to its ``progress.jsonl``."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    work = Path(arguments[0])
    join_log()
    try:
        with stoppable(echo_seconds=ECHO_SECONDS) as stop:
            try:
                _run(work, stop)
            except RuntimeError as error:
                if stop.requested:  # a rank that heard of it before this one has gone
                    raise KeyboardInterrupt from error
                if not any(word in str(error).lower() for word in LOST_PEER_WORDS):
                    raise
                raise lost_rank(work, error) from error
    except KeyboardInterrupt:
        return STOPPED
    except BenchError as error:
        # The first rank that fails knows why; what others say follows from it.
        with contextlib.suppress(OSError), (work / "error.txt").open("x", encoding="utf-8") as file:
            file.write(str(error))
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def lost_rank(work: Path, error: Exception) -> RunError:
    """Return the error of a rank whose peer is gone."""
    steps = [int(path.parent.name.removeprefix("state-")) for path in work.glob("state-*/manifest.json")]
    reason = re.sub(r"^\[[^]]*\] *", "", str(error)).split(". ")[0]  # without the place in the library's source
    return RunError(
        f"rank {os.environ.get('RANK', '0')} lost another rank: {reason}",
        fix="a rank that was killed mostly ran out of memory; the same command goes on from "
        + (f"the state after step {max(steps)}" if steps else "the start, or sooner with --set checkpoint_every=N"),
    )


def _run(work: Path, stop: Stop) -> None:
    import torch

    from bench.models.matmul import take_route

    job = _read(work)
    if job.finished is not None:
        return
    take_route()
    agent, launcher = os.getppid(), int(os.environ.get(LAUNCHER, "0"))

    def should_stop() -> bool:
        stop.training = True
        # Whoever started the ranks may have been killed: nobody is left then who would end them.
        orphaned = os.getppid() != agent or (launcher > 0 and not alive(launcher))
        return stop.requested or orphaned or (work / STOP_FILE).exists()

    with _exclusive(job), (work / "progress.jsonl").open("a", encoding="utf-8") as lines:

        def report(step: int, row: dict[str, float | None]) -> None:
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
def _exclusive(job: TrainJob) -> Iterator[None]:
    """Let one set of ranks at a time be at a job; those of a killed command may still be saving.

    Raises:
        RunError: others are at it and stay.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    with contextlib.ExitStack() as leases:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not leases.enter_context(lease(job, wait=False, name="ranks")):
            if time.monotonic() > deadline:
                raise RunError(f"other ranks are at {job.work}", fix="wait for them, or stop them: the state is kept")
            time.sleep(0.2)
        (job.work / "error.txt").unlink(missing_ok=True)
        waited_for = LAUNCHER in os.environ or job.execution.launcher == "manual"
        if not waited_for and not leases.enter_context(lease(job, wait=False)):
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

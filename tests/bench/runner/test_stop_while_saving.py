"""Real signals to a command and to a rank while either writes a state, before any step was logged."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.train.job import write_job
from bench.utils.stop_signals import ECHO_SECONDS, STOPPED
from tests.bench.train.distributed.material import ENVIRONMENT, job, spec_of

DRIVER = """
import sys, time
from pathlib import Path
from bench.train import checkpoint

save = checkpoint.save_file

def slowly(tensors, path):
    Path({mark!r}).touch()
    time.sleep({seconds})
    save(tensors, path)

checkpoint.save_file = slowly
"""
COMMAND = DRIVER + "from bench.cli import main\nmain()\n"
RANK = DRIVER + "from bench.train.distributed.rank import main\nsys.exit(main(sys.argv[1:]))\n"
ENDS_WITHIN_SECONDS = 60.0
"""On a busy machine; the write of a second signal's test takes twice as long."""


@contextmanager
def saving(kind: str, folder: Path, *, seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
    """A command or a rank that is writing its first state, after the first of many steps."""
    if kind == "rank":
        made = job(folder, spec_of("dpo", steps=400), checkpoint_every=1, log_every=100)
        program, arguments = RANK, [str(write_job(made))]
    else:
        program = COMMAND
        arguments = ["run", "--loss", "dpo", "--suite", "exact", "--seeds", "0", "--out", str(folder / "results")]
        for setting in ("problem.pairs=128", "steps=400", "checkpoint_every=1", "execution.log_every=100"):
            arguments += ["--set", setting]
    mark = folder / "saving"
    line = [sys.executable, "-c", program.format(mark=str(mark), seconds=seconds), *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, env={**os.environ, **ENVIRONMENT})
    try:
        deadline = time.monotonic() + 240
        while not mark.exists():
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def saved_steps(folder: Path) -> list[int]:
    return [int(path.parent.name[6:]) for path in folder.glob("results/work/*/state-*/manifest.json")]


@pytest.mark.parametrize("kind", ["rank", "command"])
def test_a_signal_during_the_write_is_noted_and_the_training_saves_its_next_step(tmp_path, kind):
    with saving(kind, tmp_path, seconds=1.0) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=ENDS_WITHIN_SECONDS) == STOPPED, (tmp_path / "log").read_text()[-3000:]
    assert saved_steps(tmp_path) == [2]


@pytest.mark.parametrize("kind", ["rank", "command"])
def test_a_second_signal_ends_the_write_at_once(tmp_path, kind):
    with saving(kind, tmp_path, seconds=120.0) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(ECHO_SECONDS + 0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=ENDS_WITHIN_SECONDS) == STOPPED, (tmp_path / "log").read_text()[-3000:]
    assert saved_steps(tmp_path) == []

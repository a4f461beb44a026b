"""However ranks end, by a signal, by a kill or with their parent: nothing is left running, and the state goes on."""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.errors import RunError
from bench.train.distributed.launcher import launch
from bench.train.distributed.rank import LAUNCHER, alive
from bench.train.distributed.torchrun import STOP_FILE
from bench.train.job import TrainJob, read_inputs, write_job
from bench.train.loop import Interrupted
from tests.bench.train.distributed.many import train_all
from tests.bench.train.distributed.material import DDP, ENVIRONMENT, FSDP2, Kind, command, job, spec_of, trained

EVERY = 4
"""Steps between checkpoints."""
LONG = 4000
"""Steps of a run that is still going whenever it is looked at."""
STOPS_WITHIN_SECONDS = 10.0


def job_of(folder: Path, kind: Kind, *, steps: int, results: str = "results") -> TrainJob:
    return job(folder, spec_of("tr_dpo", steps=steps, params={"every": 2.0}), results=results, **kind.execution,
               checkpoint_every=EVERY)  # fmt: skip


def start(given: TrainJob, **options) -> None:
    """As ``bench run --processes`` does, from a process that has its own work."""
    launch(given, inputs=read_inputs, rungs=None, **options)


def saved_steps(given: TrainJob) -> list[int]:
    return [int(path.parent.name.removeprefix("state-")) for path in given.work.glob("state-*/manifest.json")]


def reported_steps(given: TrainJob) -> int:
    return len((given.work / "progress.jsonl").read_text().splitlines())


def children(process: int) -> list[int]:
    return [each.pid for each in psutil.Process(process).children()]


def wait_until(holds: Callable[[], object], *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running(
    given: TrainJob, *, after: int = 0, launcher: int | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A user's own torchrun that has saved a state of more than ``after`` steps, and its ranks."""
    line = command("bench.train", [write_job(given)], ranks=given.execution.processes)
    with (given.work / "log").open("w") as log:
        known = {} if launcher is None else {LAUNCHER: str(launcher)}
        agent = subprocess.Popen(line, stderr=log, stdout=log, env={**os.environ, **ENVIRONMENT, **known})
    ranks: list[int] = []
    try:
        wait_until(lambda: max(saved_steps(given), default=0) > after or agent.poll() is not None)
        assert agent.poll() is None, (given.work / "log").read_text()[-3000:]
        ranks = children(agent.pid)
        assert len(ranks) == given.execution.processes
        yield agent, ranks
    finally:
        for process in (agent.pid, *ranks):
            if alive(process):
                os.kill(process, signal.SIGKILL)
        agent.wait()


def losses(given: TrainJob) -> list[float]:
    return trained(given)["curves"]["loss"]


def close(one: list[float], other: list[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5) for a, b in zip(one, other, strict=True))


def test_ranks_that_are_stopped_save_within_ten_seconds_and_one_process_goes_on(tmp_path):
    whole = job_of(tmp_path, Kind("1", 1, "alone"), steps=24, results="whole")
    train_all([whole])
    steps: list[int] = []
    asked: list[float] = []
    sharded = job_of(tmp_path, FSDP2, steps=24)

    def should_stop() -> bool:
        asked.extend([time.monotonic()] if steps else [])
        return bool(steps)

    with pytest.raises(Interrupted):
        start(sharded, report=lambda step, row: steps.append(step), should_stop=should_stop)
    assert time.monotonic() - asked[0] < STOPS_WITHIN_SECONDS
    assert saved_steps(sharded) == [reported_steps(sharded)]
    train_all([job_of(tmp_path, Kind("1", 1, "alone"), steps=24)])
    assert close(losses(whole), losses(sharded))


@pytest.mark.slow
def test_ranks_that_find_the_file_that_asks_for_a_stop_save_their_last_step(tmp_path):
    given = job_of(tmp_path, DDP, steps=LONG)
    with running(given) as (agent, ranks):
        (given.work / STOP_FILE).touch()
        agent.wait()
        wait_until(lambda: not any(map(alive, ranks)))
    assert saved_steps(given) == [reported_steps(given)]
    assert not (given.work / "error.txt").exists()


def test_over_several_nodes_ranks_are_asked_by_the_file_and_wait_for_no_process_of_another_node(tmp_path, monkeypatch):
    # An srun that stands for ranks elsewhere: it tells what they are told, and ends once they are asked to stop.
    given = job_of(tmp_path, DDP, steps=LONG)
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    said = tmp_path / "launcher"
    waits = f"while [ ! -e {given.work / STOP_FILE} ]; do sleep 0.05; done"
    srun.write_text(f'#!/bin/sh\necho "${{{LAUNCHER}:-none}}" > {said}\n{waits}\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name, value in (("NUM_NODES", "2"), ("ID", "40123")):
        monkeypatch.setenv(f"SLURM_JOB_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    with pytest.raises(Interrupted):
        start(given, report=lambda step, row: None, should_stop=said.exists)
    assert said.read_text() == "none\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DDP, FSDP2], ids=lambda kind: kind.name)
@pytest.mark.parametrize("told", ["torchrun", "one rank"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_torchrun_or_to_one_rank_ends_all_in_ten_seconds_with_their_state(tmp_path, kind, told, number):
    given = job_of(tmp_path, kind, steps=LONG)
    with running(given) as (agent, ranks):
        began = time.monotonic()
        os.kill(agent.pid if told == "torchrun" else ranks[1], number)
        agent.wait()
        wait_until(lambda: not any(map(alive, ranks)))
        assert time.monotonic() - began < STOPS_WITHIN_SECONDS
    assert saved_steps(given) == [reported_steps(given)]
    assert not (given.work / "error.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DDP, FSDP2], ids=lambda kind: kind.name)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_others_with_a_message_and_costs_the_steps_since_the_last_checkpoint(
    tmp_path, kind, victim
):
    given = job_of(tmp_path, kind, steps=LONG)
    with running(given) as (agent, ranks):
        began = time.monotonic()
        os.kill(ranks[victim], signal.SIGKILL)
        agent.wait()
        wait_until(lambda: not any(map(alive, ranks)))
        assert time.monotonic() - began < STOPS_WITHIN_SECONDS
    (kept,) = saved_steps(given)
    assert 0 <= reported_steps(given) - kept <= EVERY
    assert f"rank {1 - victim} lost another rank" in (given.work / "error.txt").read_text()
    before = reported_steps(given)
    with running(given, after=kept):  # the same line goes on from there
        rows = [json.loads(line) for line in (given.work / "progress.jsonl").read_text().splitlines()]
    assert rows[before]["step"] == kept + 1


@pytest.mark.slow
def test_a_killed_rank_is_named_by_the_command_that_started_it(tmp_path):
    given = job_of(tmp_path, DDP, steps=LONG)
    killed: list[int] = []

    def kill_one(step: int, row: dict) -> None:
        if step > EVERY and not killed:
            (agent,) = children(os.getpid())
            killed.append(children(agent)[1])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(RunError, match=r"rank 1 was ended by signal 9.*\n.*goes on from the last state"):
        start(given, report=kill_one, should_stop=lambda: False)
    assert saved_steps(given)


@pytest.mark.slow
def test_ranks_whose_torchrun_is_killed_save_and_end(tmp_path):
    given = job_of(tmp_path, FSDP2, steps=LONG)
    with running(given) as (agent, ranks):
        agent.kill()
        agent.wait()
        wait_until(lambda: not any(map(alive, ranks)), seconds=STOPS_WITHIN_SECONDS)
    assert saved_steps(given) == [reported_steps(given)]


@pytest.mark.slow
def test_ranks_whose_command_is_killed_save_and_end(tmp_path):
    given = job_of(tmp_path, DDP, steps=LONG)
    parent = subprocess.Popen(["sleep", "1000"])
    with running(given, launcher=parent.pid) as (agent, ranks):
        parent.kill()  # and nobody asks how it ended: it stays as a zombie
        wait_until(lambda: not any(map(alive, (agent.pid, *ranks))), seconds=STOPS_WITHIN_SECONDS)
    assert saved_steps(given) == [reported_steps(given)]
    parent.wait()


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_others_when_their_patience_is_over(tmp_path):
    given = job_of(tmp_path, DDP, steps=LONG)
    given = given.model_copy(update={"execution": given.execution.model_copy(update={"rank_timeout": 20.0})})
    with running(given) as (agent, ranks):
        os.kill(ranks[1], signal.SIGSTOP)
        wait_until(lambda: not alive(ranks[0]) or (given.work / "error.txt").exists(), seconds=60)
        assert "rank 0 lost another rank" in (given.work / "error.txt").read_text()
        agent.wait()
        # torchrun asks a rank that cannot hear, and ends it after 30 seconds.
        wait_until(lambda: not any(map(alive, ranks)), seconds=1)

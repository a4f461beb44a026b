"""How many workers: a function of cores, size, memory and what was asked for."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from bench.core.request import worker_count
from bench.errors import UsageError
from bench.runner.resources import Machine, Workers, choose_workers, parameters_in, start_method, workers_of

TB = 1_000_000_000_000


@pytest.mark.parametrize(
    ("cores", "parameters", "runs", "threads", "expected"),
    [
        (2, 3_400_000, 5, None, (2, 1)),
        (16, 3_400_000, 40, None, (16, 1)),
        (16, 3_400_000, 5, None, (5, 3)),  # fewer runs than cores: each gets more
        (2, 3_400_000, 1, None, (1, 2)),
        (16, 25_000_000, 40, None, (16, 1)),
        (2, 25_000_000, 5, None, (2, 1)),
        (16, 60_000_000, 40, None, (8, 2)),
        (2, 60_000_000, 5, None, (1, 2)),
        (16, 135_000_000, 40, None, (4, 4)),
        (16, 7_000_000_000, 40, None, (2, 8)),
        (1, 1_000, 5, None, (1, 1)),
        (2, 3_400_000, 5, 1, (2, 1)),  # OMP_NUM_THREADS=1
        (2, 3_400_000, 5, 2, (1, 2)),
        (8, 3_400_000, 40, 2, (4, 2)),
    ],
)
def test_small_models_get_a_core_each_and_larger_ones_more_threads(cores, parameters, runs, threads, expected):
    machine = Machine(cores=cores, memory=TB, cuda=False)
    found = choose_workers(machine, parameters=parameters, runs=runs, processes=1, threads=threads)
    assert (found.workers, found.threads) == expected


def test_a_gpu_or_ranks_of_their_own_leave_one_worker():
    machine = Machine(cores=16, memory=TB, cuda=True)
    assert choose_workers(machine, parameters=10**6, runs=9, processes=1, threads=None).workers == 1
    without = Machine(cores=16, memory=TB, cuda=False)
    assert choose_workers(without, parameters=10**6, runs=9, processes=2, threads=None).workers == 1


def test_memory_holds_the_number_of_workers_down_to_one():
    for memory, workers in ((None, 16), (4_500_000_000, 4), (100, 1)):
        machine = Machine(cores=16, memory=memory, cuda=False)
        assert choose_workers(machine, parameters=10**6, runs=40, processes=1, threads=None).workers == workers


def test_workers_that_were_asked_for_share_the_cores():
    machine = Machine(cores=8, memory=None, cuda=True)
    assert workers_of(machine, workers=3, threads=None) == Workers(workers=3, threads=2, widens=True)
    assert workers_of(machine, workers=3, threads=5) == Workers(workers=3, threads=5)
    assert workers_of(machine, workers=16, threads=None) == Workers(workers=16, threads=1, widens=True)


def test_the_number_of_workers_is_read_or_refused():
    assert (worker_count("auto"), worker_count("3")) == (None, 3)
    for text in ("0", "-1", "two", "1.5", ""):
        with pytest.raises(UsageError, match="must be auto, or a number"):
            worker_count(text)


def test_parameters_are_counted_without_loading(tmp_path):
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "one.safetensors", metadata={"format": "pt"})
    save_file({"c": torch.zeros(2, 2, 2)}, tmp_path / "two.safetensors")
    assert parameters_in(tmp_path) == 25


def test_a_gpu_forbids_a_fork():
    assert start_method(cuda=True) == "spawn"


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")
def test_a_parent_of_one_thread_may_fork_workers_of_several_and_another_one_may_not():
    """GNU's OpenMP waits for ever in a forked child whose parent had threads; the rule of start_method is that fact."""
    probe = (
        "import os, signal, sys, torch\nfrom bench.runner.resources import start_method\n"
        "torch.set_num_threads(int(sys.argv[1]))\nmethod = start_method(cuda=False)\n"
        "a = torch.randn(1024, 1024)\na @ a\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    signal.alarm(20)\n    torch.set_num_threads(2)\n    a @ a\n    os._exit(0)\n"
        "print(method, os.waitpid(pid, 0)[1] if method == 'fork' else os.kill(pid, 9))"
    )
    for threads, expected in (("1", "fork 0"), ("2", "spawn None")):
        done = subprocess.run([sys.executable, "-c", probe, threads], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == expected, done.stderr


def test_runs_without_neighbours_get_the_idle_cores_by_their_place():
    crew = Workers(workers=2, threads=1, widens=True)
    assert [crew.threads_of(place, 5) for place in range(5)] == [1, 1, 1, 1, 2]
    assert [crew.threads_of(place, 4) for place in range(4)] == [1, 1, 1, 1]
    wide = Workers(workers=8, threads=2, widens=True)
    assert [wide.threads_of(place, 11) for place in (7, 8, 9, 10)] == [2, 5, 5, 5]
    assert crew.threads_of(0, 0) == 1  # what is no run of the plan
    assert Workers(workers=2, threads=1, widens=False).threads_of(4, 5) == 1


def test_given_threads_are_never_widened():
    machine = Machine(cores=8, memory=None, cuda=False)
    assert workers_of(machine, workers=2, threads=None).widens
    assert not workers_of(machine, workers=2, threads=3).widens

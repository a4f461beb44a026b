"""Work in processes: in order, with its errors, and with a name for a process that was killed."""

import os
import signal

import pytest

from bench.data.crew import in_order, parts
from bench.data.row_errors import RowError
from bench.errors import RunError, UsageError


def double(job: int, item: int) -> tuple[int, int]:
    return job * item, os.getpid()


def fail(job: int, item: int) -> int:
    if item == 3:
        raise UsageError("three", fix="four")
    return item


def end(job: int, item: int) -> bytes:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes(job)


def faults(job: int, item: int) -> RowError:
    fault = RowError("problem", fix="fix", kind="empty")
    fault.fix = "another"
    return fault


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes: int) -> None:
    results = list(in_order(double, 2, range(20), processes=processes))
    assert [value for value, _ in results] == [2 * item for item in range(20)]
    assert len({process for _, process in results}) == processes


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_is_raised_in_its_place(processes: int) -> None:
    results = in_order(fail, 0, range(9), processes=processes)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="three") as error:
        next(results)
    assert error.value.fix == "four"


def test_a_killed_process_is_named_and_large_results_do_not_block() -> None:
    results = in_order(end, 2**20, iter(range(9)), processes=2)
    assert len(next(results)) == 2**20
    with pytest.raises(RunError, match="ended with code -9"):
        list(results)


def test_faults_of_rows_cross_over_whole() -> None:
    fault = next(iter(in_order(faults, 0, [0, 1], processes=2)))
    assert (str(fault), fault.problem, fault.fix, fault.kind) == ("problem", "problem", "another", "empty")


def test_parts_are_consecutive() -> None:
    assert list(parts(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]

"""Spaces: grids, membership, and that they come without torch."""

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.space import Choice, Linear, Log

TRIALS = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def test_grids_are_the_round_numbers_one_would_write():
    assert Log(0.01, 10).grid(4) == (0.01, 0.1, 1, 10)
    assert Log(0.005, 1).grid(3) == (0.005, 0.0707, 1)
    assert Log(0.01, 1).grid(1) == (0.1,)
    assert Linear(0, 1.6).grid(5) == (0, 0.4, 0.8, 1.2, 1.6)
    assert Choice((2, 3)).grid(5) == (2, 3)
    assert Choice((8, 16, 32, 64, 128)).grid(3) == (8, 32, 128)


@TRIALS
@given(
    space=st.builds(
        lambda kind, low, width: kind(low, low * (1 + width)),
        st.sampled_from([Log, Linear]),
        st.floats(1e-6, 1e4),
        st.floats(1e-6, 1e3),
    ),
    n=st.integers(1, 9),
)
def test_grid_has_n_different_rising_values_inside_the_space(space, n):
    grid = space.grid(n)
    assert len(set(grid)) == n
    assert list(grid) == sorted(grid)
    assert all(space.contains(value) for value in grid)
    if n > 1:
        assert (grid[0], grid[-1]) == (space.low, space.high)


@pytest.mark.parametrize("space", [Log(0.1, 1), Linear(0.1, 1), Choice((0.1, 1))])
def test_membership_includes_the_ends_and_excludes_nan(space):
    assert space.contains(0.1)
    assert space.contains(1)
    assert not space.contains(1.01)
    assert not space.contains(math.nan)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Log(0, 1),
        lambda: Log(2, 1),
        lambda: Linear(1, 1),
        lambda: Linear(0, math.inf),
        lambda: Choice(()),
        lambda: Choice((1, 1)),
        lambda: Linear(0, 1).grid(0),
    ],
)
def test_spaces_and_grids_without_sense_are_refused(make):
    with pytest.raises(ValueError, match="needs"):
        make()


def test_space_and_schedule_are_imported_without_torch():
    code = "import sys, losses.space, losses.schedule; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

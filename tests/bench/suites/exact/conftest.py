"""What the tests of the enumerable problem share."""

import pytest

from bench.core.specs import ProblemSpec
from bench.suites.exact.problem import Problem, make_problem


def small(**dials) -> Problem:
    """Four contexts, two symbols, at most two tokens: seven completions. Other dials as given."""
    return make_problem(ProblemSpec(**({"contexts": 4, "symbols": 2, "length": 2} | dials)))


@pytest.fixture
def quiet():
    """No progress bars of transformers."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()

"""Owns the margins within which objectives count as equal."""

import pytest

from bench.core.margins import MARGINS, margin_of
from bench.suites.settings import suite_names


def test_every_suite_has_a_margin_of_its_reward() -> None:
    assert set(MARGINS) == set(suite_names())


@pytest.mark.parametrize(("suite", "target", "margin"), [("sentiment", "reward", 0.2), ("chat", "reward", 0.25)])
def test_a_reward_has_the_margin_of_its_suite(suite: str, target: str, margin: float) -> None:
    assert margin_of(suite, target=target) == margin


def test_a_win_rate_has_points_in_any_suite() -> None:
    assert margin_of("chat", target="win_rate") == margin_of("other", target="win_rate") == 3.0


def test_an_unknown_suite_has_the_default() -> None:
    assert margin_of("other", target="reward") == 0.1

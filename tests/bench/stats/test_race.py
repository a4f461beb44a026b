"""Owns races: their looks, what they drop, when they end, and that they replay."""

import numpy as np
import pytest

from bench.stats.race import Race, RaceTerms, race_terms, run_race

Scores = dict[str, dict[int, list[float]]]
ORDER = tuple(range(1000, 1012))
TERMS = RaceTerms((3, 6, 12), (0.01, 0.02, 0.02), 0.15)


def _scores(means: dict[str, float], *, seeds: int = 12, deviation: float = 0.05) -> Scores:
    rng = np.random.default_rng(0)
    easy = rng.standard_normal(150)
    return {
        arm: {
            ORDER[run]: (mean + deviation * rng.standard_normal() + easy + 0.2 * rng.standard_normal(150)).tolist()
            for run in range(seeds)
        }
        for arm, mean in means.items()
    }


MEANS = {"best": 1.0, "near": 0.97, "also": 0.99, "low": 0.2, "middle": 0.7}


def _race(scores: Scores, terms: RaceTerms = TERMS) -> Race:
    return run_race(scores, terms, order=ORDER)


def test_a_race_drops_what_is_worse_and_ends_once_the_rest_is_equal() -> None:
    race = _race(_scores(MEANS))
    assert race.end == "decided"
    assert race.needs is None
    assert set(race.arms) == {"best", "near", "also"}
    assert {race.words[arm] for arm in ("low", "middle")} == {"worse"}
    first = race.looks[-1].first
    assert {race.words[arm] for arm in race.arms if arm != first} == {"equal"}


def test_a_race_asks_for_the_seeds_of_its_next_look() -> None:
    scores = _scores(MEANS)
    assert _race({arm: {} for arm in scores}).needs == 3
    two = {arm: {seed: rows[seed] for seed in ORDER[:2]} for arm, rows in scores.items()}
    assert (_race(two).needs, _race(two).looks) == (3, ())
    three = {arm: {seed: rows[seed] for seed in ORDER[:3]} for arm, rows in scores.items()}
    assert (_race(three).needs, len(_race(three).looks)) == (6, 1)


def test_a_dropped_arm_needs_no_more_seeds_and_changes_nothing_by_having_them() -> None:
    scores = _scores(MEANS)
    whole = _race(scores)
    gone = {arm: look.seeds for look in whole.looks for arm in look.dropped}
    assert gone
    cut = {arm: {s: row for s, row in rows.items() if s < 1000 + gone.get(arm, 99)} for arm, rows in scores.items()}
    assert _race(cut) == whole


def test_a_look_sees_its_own_seeds_alone() -> None:
    scores = _scores(MEANS)
    early = {arm: {seed: rows[seed] for seed in ORDER[:6]} for arm, rows in scores.items()}
    assert _race(early).looks == _race(scores).looks[: len(_race(early).looks)]


def test_a_run_that_ended_without_scores_does_not_hold_the_race_up() -> None:
    scores = _scores(MEANS)
    ended = {arm: set(rows) for arm, rows in scores.items()}
    for seed in ORDER[:2]:
        del scores["near"][seed]
    assert run_race(scores, TERMS, order=ORDER).needs == 3
    race = run_race(scores, TERMS, order=ORDER, ended=ended)
    assert race.looks[0].against_first["near"].word == "undecided"  # one seed in common
    assert race.end is not None


def test_an_arm_whose_runs_diverge_leaves_the_race_undecided() -> None:
    scores = _scores(MEANS)
    ended = {arm: set(rows) for arm, rows in scores.items()}
    scores["low"] = {ORDER[0]: scores["low"][ORDER[0]]}
    race = run_race(scores, TERMS, order=ORDER, ended=ended)
    assert "low" not in race.arms
    assert race.words["low"] == "undecided"
    assert race.end == "decided"


def test_a_race_without_enough_seeds_ends_undecided() -> None:
    race = _race(_scores({"a": 1.0, "b": 0.9}, deviation=0.5))
    assert race.end == "out of seeds"
    assert race.words["b" if race.looks[-1].first == "a" else "a"] == "undecided"
    assert run_race(_scores(MEANS), TERMS, order=ORDER[:2]).end == "out of seeds"


@pytest.mark.parametrize("most", [2, 3, 7, 32, 100])
def test_default_terms_spend_five_per_cent_and_end_at_the_most(most: int) -> None:
    terms = race_terms(most, 0.1)
    assert terms.looks[-1] == most
    assert sum(terms.levels) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("looks", "levels", "margin"),
    [
        ((), (), 0.1),
        ((1, 3), (0.01, 0.01), 0.1),
        ((3, 3), (0.01, 0.01), 0.1),
        ((3, 5), (0.04, 0.04), 0.1),
        ((3,), (0.05,), 0.0),
    ],
)
def test_terms_that_cannot_hold_are_refused(looks: tuple[int, ...], levels: tuple[float, ...], margin: float) -> None:
    with pytest.raises(ValueError, match="got"):
        RaceTerms(looks, levels, margin)

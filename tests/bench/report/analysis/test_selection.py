"""The choice of a setting, replayed from records: equal seeds, and a race of the settings."""

import pytest

from bench.core.record import Metric
from bench.errors import RunError
from bench.report.analysis.selection import Selection, select_setting
from tests.bench.report.conftest import record, run_spec

RACE = {"seeds": [0], "further_seeds": [1, 2], "race": {"looks": [2], "levels": [0.05], "margin": 0.1}}


def setting(beta: float, *targets: float | None):
    """The validation records of a setting with seeds 0, 1, …; None: that one diverged."""
    made = []
    for seed, target in enumerate(targets):
        spec = run_spec(beta=beta, seed=seed)
        made.append(record(spec, status="diverged") if target is None else record(spec, target=target))
    return [each.model_copy(update={"scores": {}}) for each in made]


def test_without_further_seeds_the_highest_mean_is_chosen():
    assert select_setting([setting(0.1, 1.0, 0.0), setting(0.3, 0.6, 0.6)], {}) == Selection(1)
    assert select_setting([setting(0.1, 9.0, None), setting(0.3, 0.1, 0.1)], {}) == Selection(1)
    assert select_setting([setting(0.1, None)], {}) == Selection(None)


def test_settings_that_may_be_the_best_ask_for_a_seed_more_until_one_is_left():
    near = [setting(0.1, 1.0), setting(0.3, 0.95), setting(1.0, 0.5)]
    assert select_setting(near, RACE) == Selection(0, (0, 1), 1)
    again = [setting(0.1, 1.0, 0.5), setting(0.3, 0.95, 0.9), setting(1.0, 0.5)]
    assert select_setting(again, RACE) == Selection(1)  # means 0.75 and 0.925


def test_the_seeds_end_with_the_highest_mean_of_those_that_are_left():
    settings = [setting(0.1, 1.0, 1.0, 1.0), setting(0.3, 0.95, 1.0, 1.2), setting(1.0, 0.5)]
    assert select_setting(settings, RACE) == Selection(1)
    assert select_setting([settings[0][:2], settings[1][:2], settings[2]], RACE) == Selection(0, (0, 1), 2)


def test_a_seed_that_a_setting_got_before_another_one_was_tried_does_not_count_for_it():
    late = [setting(0.1, 1.0, 1.0, 1.0), setting(0.3, 1.5)]  # the second had failed, and was tried again
    assert select_setting(late, RACE) == Selection(1)


def test_a_setting_that_diverges_with_a_further_seed_is_not_chosen():
    assert select_setting([setting(0.1, 1.0, None), setting(0.3, 0.95, 0.3)], RACE) == Selection(1)
    both = [setting(0.1, 1.0, None), setting(0.3, 0.95, None), setting(1.0, 0.2)]
    assert select_setting(both, RACE) == Selection(2)
    assert select_setting(both[:2], RACE) == Selection(None)
    assert select_setting([setting(0.1, None)], RACE) == Selection(None)


def test_prompts_scores_widen_what_is_in_question():
    pairs = [setting(0.1, 1.0), setting(0.3, 0.5)]
    for (one,), scores in zip(pairs, ([3.0, -1.0, 1.0, 1.0], [-1.0, 1.0, 1.0, 1.0]), strict=True):
        one.scores["target"] = scores
    assert select_setting(pairs, RACE) == Selection(0, (0, 1), 1)


@pytest.mark.parametrize("wrong", [{"race": None}, {"race": {}}, {"seeds": []}, {"further_seeds": "1"}])
def test_terms_that_are_none_are_refused(wrong):
    with pytest.raises(RunError, match="do not say how settings are chosen"):
        select_setting([setting(0.1, 1.0)], RACE | wrong)


def test_a_record_without_a_target_chooses_nothing():
    (one,) = setting(0.1, 1.0)
    bare = one.model_copy(
        update={"metrics": [Metric(task="generation", split="validation", name="kl", value=1.0, n=1)]}
    )
    assert select_setting([[bare]], RACE) == Selection(None)

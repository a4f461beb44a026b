"""Which settings may still be the best."""

import numpy as np

from bench.stats.selection import in_question


def test_a_setting_is_in_question_within_the_margin_and_one_standard_error_of_the_best():
    prompts = np.array([[1.0, -1.0, 1.0, -1.0]])  # deviation 2/√3, standard error of the mean 1/√3 = 0.577
    scores = [prompts + 1.0, 0 * prompts + 0.3, 0 * prompts + 0.2]
    assert in_question(scores, margin=0.2) == [True, True, False]


def test_noise_that_two_settings_share_counts_for_nothing():
    noise = np.random.default_rng(0).normal(size=(2, 50))
    assert in_question([noise, noise - 0.11], margin=0.1) == [True, False]


def test_means_of_seeds_alone_are_compared_by_the_margin():
    assert in_question([np.array([[1.0], [2.0]]), np.array([[1.4], [1.5]])], margin=0.1) == [True, True]
    assert in_question([np.array([[1.0], [2.0]]), np.array([[1.3], [1.4]])], margin=0.1) == [True, False]

"""The cheapest mix is that of a search over every design, and components are those that scores were drawn with."""

from dataclasses import astuple

import numpy as np
import pytest

from bench.stats.components import arm_components, other_arms, seed_range, typical_pair, with_noise
from bench.stats.mix import Costs, Limits, cheapest_mix, prompts_without_end
from bench.stats.power import Design, Family, Variances, power

NOISY = Variances(0.05, 0.3, 2.0, prompt_noise=0.25, residual_noise=1.6)


@pytest.mark.parametrize("costs", [Costs(40, 0, 0.05), Costs(1, 0, 0.05), Costs(10, 5, 1.0)], ids=str)
@pytest.mark.parametrize("arms", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_the_mix_is_the_cheapest_of_all_designs(costs, arms):
    limits, family = Limits(prompts=60, samples=3, seeds=20), Family(arms)
    mix = cheapest_mix(0.9, NOISY, family, costs, limits)
    design = mix.design
    assert power(0.9, design, NOISY, family) > 0.79
    fewer = Design(design.seeds, design.prompts - 2, design.samples)
    assert power(0.9, fewer, NOISY, family) < 0.8 or design.prompts <= limits.fewest + 1
    assert mix.seconds == arms * design.seeds * costs.run(design.prompts, design.samples)
    for seeds in range(2, 21):
        for samples in (1, 2, 3):
            for prompts in range(16, 61, 4):
                if arms * seeds * costs.run(prompts, samples) < 0.98 * mix.seconds:
                    assert power(0.9, Design(seeds, prompts, samples), NOISY, family) < 0.8


def test_dear_trainings_buy_prompts_and_scarce_prompts_buy_samples():
    family = Family(5)
    cheap, dear = (cheapest_mix(0.5, NOISY, family, Costs(train, 0, 0.05), Limits(2000)) for train in (0.5, 500.0))
    assert dear.design.seeds < cheap.design.seeds
    assert dear.design.prompts > cheap.design.prompts
    scarce = cheapest_mix(0.5, NOISY, family, Costs(500.0, 0, 0.05), Limits(100, samples=8))
    assert scarce.design.samples > 1
    without = cheapest_mix(0.5, NOISY, family, Costs(500.0, 0, 0.05), Limits(100))
    assert without is None or without.seconds > scarce.seconds


def test_no_mix_sees_what_new_prompts_alone_hide():
    family = Family(5)
    least = prompts_without_end(0.2, NOISY, family)
    assert cheapest_mix(0.2, NOISY, family, Costs(1, 0, 1), Limits(least - 1)) is None
    assert power(0.2, Design(2000, 10 * least), NOISY, family) > 0.8


def tables(rng, seed, prompt, residual, *, seeds, prompts):
    """Scores (arms, seeds, prompts): what seeds and prompts add to all arms, and each arm's own."""
    arms = len(seed)
    own = [np.sqrt(np.asarray(each))[:, None, None] for each in (seed, prompt, residual)]
    return (
        rng.normal(size=(1, seeds, 1))
        + 2 * rng.normal(size=(1, 1, prompts))
        + own[0] * rng.normal(size=(arms, seeds, 1))
        + own[1] * rng.normal(size=(arms, 1, prompts))
        + own[2] * rng.normal(size=(arms, seeds, prompts))
    )


def test_components_are_those_of_the_scores_on_average():
    rng = np.random.default_rng(1)
    seed, prompt, residual = [0.1, 0.1, 0.4, 0.1], [0.2, 0.5, 0.2, 0.2], [1.0, 1.0, 2.0, 1.0]
    drawn = [arm_components(tables(rng, seed, prompt, residual, seeds=30, prompts=60)) for _ in range(60)]
    mean = np.array([[(one.seed, one.prompt, one.residual) for one in arms] for arms in drawn]).mean(axis=0)
    assert mean[:, 0] == pytest.approx(seed, rel=0.15)
    assert mean[:, 1] == pytest.approx(prompt, rel=0.15)
    assert mean[:, 2] == pytest.approx(residual, rel=0.05)


def test_samples_tell_what_more_of_them_save():
    rng, arms, seeds, prompts = np.random.default_rng(5), 3, 20, 300
    whole = tables(rng, [0.1] * arms, [0.2] * arms, [0.5] * arms, seeds=seeds, prompts=prompts)
    shared = 0.6 * rng.normal(size=(4, arms, 1, prompts))  # noise that an arm's seeds have in common
    common = 3 * rng.normal(size=(4, 1, 1, prompts))  # and that all arms have, which no difference sees
    single = whole + common + shared + 0.9 * rng.normal(size=(4, arms, seeds, prompts))
    components = with_noise(arm_components(single.mean(axis=0)), single)
    assert [one.prompt_noise for one in components] == pytest.approx([0.36] * arms, rel=0.15)
    assert [one.residual_noise for one in components] == pytest.approx([0.81] * arms, rel=0.1)
    four = typical_pair(components, samples=4)
    assert four.prompt == pytest.approx(2 * (0.2 + 0.36), rel=0.15)
    assert four.residual == pytest.approx(2 * (0.5 + 0.81), rel=0.1)
    one = typical_pair(arm_components(single[0]))
    assert four.of(4).residual == pytest.approx(2 * (0.5 + 0.81 / 4), rel=0.1)
    assert four.residual == pytest.approx(one.residual, rel=0.05)
    with pytest.raises(ValueError, match="two samples"):
        with_noise(components, single[:1])


def test_two_arms_share_their_differences_variance():
    one, other = arm_components(tables(np.random.default_rng(2), [0.3, 0.3], [0, 0], [1, 1], seeds=40, prompts=40))
    assert astuple(one) == pytest.approx(astuple(other))
    assert 2 * one.residual == pytest.approx(2.0, rel=0.1)


def test_one_restless_arm_does_not_make_a_typical_pair():
    rng = np.random.default_rng(4)
    components = arm_components(tables(rng, [0.02] * 11 + [1.0], [0] * 12, [1] * 12, seeds=12, prompts=100))
    typical = typical_pair(components)
    assert typical.seed < 0.1
    assert max(other_arms(components)) > 0.25
    assert len(other_arms(components)) == 10
    low, high = seed_range(typical, arms=12, seeds=12, prompts=100)
    assert low < typical.seed < high


def test_one_seed_has_no_components():
    with pytest.raises(ValueError, match="seeds"):
        arm_components(np.zeros((3, 1, 10)))

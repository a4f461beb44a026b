"""How far judges agree: on the models' order and on single questions."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.evaluate.judges.agreement import agreements
from bench.evaluate.judges.judgements import Judgements

MODELS = ("a", "b", "c", "d", "e")


def judge(name, rates, *, questions=400, seed=0, numbered=True):
    generator = np.random.default_rng(seed)
    return [
        Judgements(
            judge=name,
            model=model,
            baseline="base",
            preferences=(generator.random(questions) < rate).astype(float),
            index=np.arange(questions) if numbered else None,
            lengths=np.ones(questions),
            baseline_lengths=np.ones(questions),
        )
        for model, rate in zip(MODELS, rates, strict=True)
    ]


APART = (0.1, 0.3, 0.5, 0.7, 0.9)


def test_judges_of_one_opinion_agree_and_opposed_ones_disagree():
    first, second = judge("x", APART), judge("y", APART, seed=1)
    opposed = judge("z", APART[::-1], seed=2)
    xy, xz, yz = agreements([*first, *second, *opposed])
    assert (xy.tau, xz.tau, yz.tau) == (1.0, -1.0, -1.0)
    assert (xy.low, xy.high) == (1.0, 1.0)
    assert xy.same > 0.5 > xz.same
    assert (xy.models, xy.shared) == (5, 2000)


def test_one_question_in_which_two_models_change_places_shows_in_tau():
    first, second = judge("x", APART), judge("y", (0.3, 0.1, 0.5, 0.7, 0.9), seed=1)
    (agreement,) = agreements([*first, *second])
    assert agreement.tau == pytest.approx(0.8)  # one of ten pairs is turned round


def test_the_interval_is_wide_where_models_are_close_and_is_the_same_each_time():
    close = (0.49, 0.495, 0.5, 0.505, 0.51)
    judges = [*judge("x", close, questions=100), *judge("y", close, questions=100, seed=1)]
    (agreement,) = agreements(judges)
    assert agreement.high - agreement.low > 0.8
    assert agreements(judges) == [agreement]


def test_without_numbers_of_questions_there_is_an_order_but_no_interval():
    first, second = judge("x", APART, numbered=False), judge("y", APART, seed=1)
    (agreement,) = agreements([*first, *second])
    assert agreement.tau == 1.0
    assert math.isnan(agreement.low)
    assert agreement.shared == 0


def test_questions_are_matched_by_their_texts_where_there_are_no_numbers():
    texts = tuple(f"question {n}" for n in range(400))
    first = [replace(judged, instructions=texts) for judged in judge("x", APART, numbered=False)]
    # the other judge has them in another order
    second = [
        replace(judged, instructions=texts[::-1], preferences=judged.preferences[::-1], index=None)
        for judged in judge("y", APART, seed=1)
    ]
    numbered = agreements([*judge("x", APART), *judge("y", APART, seed=1)])
    assert agreements([*first, *second])[0].same == numbered[0].same
    assert agreements([*first, *second])[0].low == 1.0


def test_missing_judgements_and_models_that_one_judge_lacks_are_left_out():
    first, second = judge("x", APART), judge("y", APART, seed=1)
    first[0].preferences[:] = math.nan
    (agreement,) = agreements([*first, *second[:-1]])
    assert (agreement.models, agreement.shared) == (4, 1200)
    # Three models are in one order by luck once in six times.
    assert math.isnan(agreement.tau)
    (agreement,) = agreements([*first, *second])
    assert (agreement.models, agreement.tau) == (5, 1.0)
    (single,) = agreements([first[1], second[1]])
    assert math.isnan(single.tau)

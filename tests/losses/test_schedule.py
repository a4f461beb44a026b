"""Value schedules and their text form; when the reference follows the policy."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import get
from losses.schedule import ReferenceSchedule, ValueSchedule, frozen, hard, parse_schedule, soft, staged

TRIALS = settings(max_examples=60, deadline=None, derandomize=True, database=None)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@TRIALS
@given(kind=st.sampled_from(["linear", "cosine"]), start=numbers, end=numbers)
def test_text_form_round_trips(kind, start, end):
    schedule = ValueSchedule(kind, start, end)
    assert parse_schedule(str(schedule)) == schedule


@TRIALS
@given(value=numbers)
def test_constant_round_trips_and_a_plain_number_is_one(value):
    assert parse_schedule(str(ValueSchedule("constant", value, value))) == parse_schedule(repr(value))


def test_text_form_is_the_documented_one():
    assert str(ValueSchedule("linear", 0.1, 0.01)) == "linear(0.1, 0.01)"
    assert str(ValueSchedule("constant", 0.1, 0.1)) == "constant(0.1)"


def test_schedules_run_from_start_to_end():
    linear, cosine = parse_schedule("linear(0.1, 0.01)"), parse_schedule("cosine(1, 0)")
    assert [linear.at(1, 10), linear.at(10, 10)] == [0.1, 0.01]
    assert linear.at(4, 10) == pytest.approx(0.07)
    assert [cosine.at(step, 3) for step in (1, 2, 3)] == pytest.approx([1, 0.5, 0])
    assert parse_schedule("linear(3, 4)").at(1, 1) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("linaer(0.1, 0.01)", "did you mean 'linear'"),
        ("linear(0.1)", "takes 2 value"),
        ("constant(1, 2)", "takes 1 value"),
        ("linear(a, b)", "could not convert"),
        ("linear(0.1, inf)", "finite"),
        ("linear(0.1, 0.01", "cannot read"),
        ("", "cannot read"),
    ],
)
def test_unreadable_schedule_says_what_is_wrong(text, told):
    with pytest.raises(ValueError, match=told):
        parse_schedule(text)


def weights(schedule, steps):
    return [schedule.weight_after(step, steps) for step in range(1, steps + 1)]


def test_reference_weights_follow_the_named_methods():
    assert weights(frozen(), 4) == [0, 0, 0, 0]
    assert weights(soft(0.6, 2), 5) == [0, 0.6, 0, 0.6, 0]
    assert weights(hard(3), 6) == [0, 0, 1, 0, 0, 1]
    assert weights(staged(3), 7) == [0, 1, 0, 0, 1, 0, 0]  # round(7/3) = 2, round(14/3) = 5
    assert weights(staged(1), 3) == [0, 0, 0]


@TRIALS
@given(stages=st.integers(1, 6), steps=st.integers(6, 50))
def test_stages_cover_the_run_and_change_right_after_each_update(stages, steps):
    schedule = staged(stages)
    of = [schedule.stage_of(step, steps) for step in range(1, steps + 1)]
    assert sorted(set(of)) == list(range(stages))
    changes = [later != earlier for earlier, later in itertools.pairwise(of)]
    assert changes == [weight == 1 for weight in weights(schedule, steps)[:-1]]
    assert schedule.restart == (stages > 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"weight": 1.5, "every": 1}, "0 to 1"),
        ({"weight": 0.5}, "needs every or stages"),
        ({"weight": 1.0, "every": 0}, "1 step or more"),
        ({"weight": 1.0, "every": 4, "stages": 2}, "exclude each other"),
        ({"restart": True}, "2 or more stages"),
        ({"stages": 0}, "1 or more"),
    ],
)
def test_contradicting_reference_schedule_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        ReferenceSchedule(**fields)


@pytest.mark.parametrize("step", [0, 6])
def test_steps_outside_the_run_are_refused(step):
    with pytest.raises(ValueError, match="1 to 5"):
        frozen().weight_after(step, 5)


def test_fewer_steps_than_stages_are_refused():
    with pytest.raises(ValueError, match="3 stages need 3"):
        staged(3).boundaries(2)


def test_objectives_build_their_schedules_from_their_parameters():
    assert get("sdpo").reference_schedule({"stages": 3}) == staged(3)
    assert get("tr_dpo").reference_schedule({"alpha": 0.3, "every": 5}) == soft(0.3, 5)
    assert get("tr_dpo_hard").reference_schedule({}) == hard(32)
    assert get("dpo").reference_schedule({}).is_frozen

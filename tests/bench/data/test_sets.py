"""Several data sets: one order of rows, no prompt in two parts, and each set known by its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.sets import concatenate_sets, split_sets
from bench.data.split import split_by_prompt
from bench.data.tokens import EncodedPair, encoded_of, unpair
from bench.errors import UsageError

FRACTIONS = (0.8, 0.1, 0.1)


def a_set(prompts, *, mark=0):
    """Pairs of these prompts, one a prompt in the order given; ``mark`` tells sets of like prompts apart."""
    groups = {}
    rows = [
        EncodedPair(
            prompt_ids=(1, prompt), chosen_ids=(2, mark, n), rejected_ids=(3, mark, n), score_gap=None,
            group=groups.setdefault(prompt, len(groups)),
        )
        for n, prompt in enumerate(prompts)
    ]  # fmt: skip
    return encoded_of(rows, kind="pairs", eos_id=0, pad_id=0)


def split(*sets):
    return split_sets([f"set {n}" for n in range(len(sets))], sets, fractions=FRACTIONS, seed=0)


@given(
    one=st.lists(st.integers(0, 30), min_size=1, max_size=40), two=st.lists(st.integers(0, 30), min_size=1, max_size=40)
)
def test_no_prompt_is_in_two_parts_and_the_rows_of_a_set_stay_together_in_its_order(one, two):
    sets = [a_set(one, mark=0), a_set(two, mark=1)]
    try:
        found = split(*sets)
    except UsageError:
        return  # a set of few prompts may have none in the part that is trained on
    prompts = [{row.prompt_ids for row in part.rows} for part in found.parts.values()]
    assert len(set().union(*prompts)) == sum(map(len, prompts))
    assert sum(len(part.rows) for part in found.parts.values()) == len(one) + len(two)
    places = [(row.chosen_ids[1], row.chosen_ids[2]) for row in found.parts["train"].rows]
    assert places == sorted(places)
    assert [each.rows for each in found.sets] == [sum(mark == n for mark, _ in places) for n in (0, 1)]
    # Rows of one prompt, and only they, share a group, whichever set they come from.
    rows = [row for part in found.parts.values() for row in part.rows]
    assert len({row.group for row in rows}) == len({row.prompt_ids for row in rows})


def test_a_single_set_is_split_as_it_always_was():
    single = a_set(range(20))
    found = split(single)
    assert tuple(found.parts.values()) == split_by_prompt(single, fractions=FRACTIONS, seed=0)
    assert found.sets == ()
    assert found.content == found.parts["train"].content_hash


def test_the_content_is_of_the_sets_in_their_order_and_of_their_borders():
    rows = list(range(40))
    contents = [split(*sets).content for sets in (
        (a_set(rows[:20]), a_set(rows[20:])), (a_set(rows[20:]), a_set(rows[:20])), (a_set(rows),),
        (a_set(rows[:10]), a_set(rows[10:])),
    )]  # fmt: skip
    assert len(set(contents)) == 4


def test_sets_of_two_kinds_are_refused_by_name():
    with pytest.raises(UsageError, match="one has pairs rows and two has unpaired rows"):
        concatenate_sets(["one", "two"], [a_set([1]), unpair(a_set([2]))])


def test_a_set_that_is_left_without_training_rows_is_refused_by_name():
    # All prompts of the second set are those that the split holds out.
    first = a_set(range(40))
    held = [row.prompt_ids[1] for row in split_by_prompt(first, fractions=FRACTIONS, seed=0)[2].rows]
    with pytest.raises(UsageError, match="set 1 leaves no prompt to train on"):
        split(first, a_set(held, mark=1))

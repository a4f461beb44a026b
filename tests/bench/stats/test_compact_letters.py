"""Two names share a letter exactly where no test told them apart."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.compact_letters import compact_letters


@st.composite
def names_and_differences(draw):
    names = [f"n{at}" for at in range(draw(st.integers(1, 8)))]
    return names, {frozenset(pair) for pair in combinations(names, 2) if draw(st.booleans())}


@given(names_and_differences())
def test_names_share_a_letter_exactly_where_they_are_not_different(drawn):
    names, different = drawn
    letters = compact_letters(names, different)
    assert all(letters.values())
    for one, other in combinations(names, 2):
        assert bool(set(letters[one]) & set(letters[other])) == (frozenset((one, other)) not in different)


@given(names_and_differences())
def test_letters_start_with_the_best_name_and_none_holds_another(drawn):
    names, different = drawn
    letters = compact_letters(names, different)
    assert letters[names[0]].startswith("a")
    groups = [{name for name in names if letter in letters[name]} for letter in set("".join(letters.values()))]
    assert not any(one < other for one in groups for other in groups)
    # «b» begins no higher than «c»
    starts = [
        min(names.index(name) for name in names if letter in letters[name])
        for letter in sorted(set("".join(letters.values())))
    ]
    assert starts == sorted(starts)


def test_a_chain_of_ties_has_overlapping_letters():
    letters = compact_letters(["first", "second", "third"], [frozenset(("first", "third"))])
    assert letters == {"first": "a", "second": "ab", "third": "b"}


def test_all_alike_share_one_letter_and_all_apart_share_none():
    names = [f"n{at:02}" for at in range(60)]
    assert set(compact_letters(names, []).values()) == {"a"}
    apart = compact_letters(names, {frozenset(pair) for pair in combinations(names, 2)})
    assert len(set(apart.values())) == 60
    assert all(len(letter) == 1 for letter in apart.values())


@pytest.mark.parametrize("pair", [("a", "x"), ("a",)], ids=["unknown", "single"])
def test_a_difference_of_anything_but_two_of_the_names_is_refused(pair):
    with pytest.raises(ValueError, match="two of the names"):
        compact_letters(["a", "b"], [frozenset(pair)])


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match="names must be distinct"):
        compact_letters(["a", "a"], [])

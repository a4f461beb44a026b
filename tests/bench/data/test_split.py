"""Parts of a data set share no prompt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.preferences import preferences_of
from bench.data.rows import Pair
from bench.data.split import _counts, split_by_prompt
from bench.data.tokens import EncodedPair, encoded_of, unpair
from bench.errors import UsageError


def encoded(groups):
    rows = [
        EncodedPair(prompt_ids=(group,), chosen_ids=(place,), rejected_ids=(place + 1,), score_gap=None, group=group)
        for place, group in enumerate(groups)
    ]
    return encoded_of(rows, kind="pairs", eos_id=0, pad_id=0)


GROUPS = st.lists(st.integers(0, 12), min_size=1, max_size=60)
SEED = st.integers(0, 1000)


@given(
    groups=GROUPS, seed=SEED, fractions=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0), (1, 0, 0), (0.2, 0.4, 0.4)])
)
def test_every_row_is_in_one_part_and_no_prompt_in_two(groups, seed, fractions):
    whole = encoded(groups)
    parts = split_by_prompt(whole, fractions=fractions, seed=seed)
    assert sorted(row.chosen_ids for part in parts for row in part.rows) == sorted(row.chosen_ids for row in whole.rows)
    prompts = [{row.group for row in part.rows} for part in parts]
    assert sum(map(len, prompts)) == len(set(groups))
    for part, fraction, found in zip(parts, fractions, prompts, strict=True):
        assert [row.chosen_ids for row in part.rows] == sorted(row.chosen_ids for row in part.rows)
        assert abs(len(found) - fraction * len(set(groups))) < 2
        if fraction == 0:
            assert not found
    filled = sum(fraction > 0 for fraction in fractions)
    assert sum(map(bool, prompts)) == min(filled, len(set(groups)))


def test_shares_are_exact_where_they_can_be_and_seeds_differ():
    whole = encoded(range(100))
    parts = [split_by_prompt(whole, fractions=(0.8, 0.1, 0.1), seed=seed) for seed in (0, 0, 1)]
    assert [[len(part.rows) for part in each] for each in parts] == [[80, 10, 10]] * 3
    assert parts[0] == parts[1] != parts[2]
    assert len({part.content_hash for part in parts[0]}) == 3


def test_text_is_split_by_prompt_too_and_keeps_its_row_numbers():
    rows = [Pair(prompt=f"p{i % 10}", chosen=f"{i}", rejected="x", id=i) for i in range(30)]
    data = preferences_of(rows, source="d.jsonl")
    parts = split_by_prompt(data, fractions=(0.8, 0.1, 0.1), seed=0)
    assert [len(part.rows) for part in parts] == [24, 3, 3]
    assert [len({row.prompt for row in part.rows}) for part in parts] == [8, 1, 1]
    assert sorted(row.id for part in parts for row in part.rows) == list(range(30))
    assert all(row.chosen == str(row.id) for part in parts for row in part.rows)


def test_the_sides_of_a_pair_stay_together():
    parts = split_by_prompt(unpair(encoded(range(20))), fractions=(0.5, 0.25, 0.25), seed=0)
    for part in parts:
        numbers = [row.pair for row in part.rows]
        assert numbers[::2] == numbers[1::2]


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_shares_that_are_not_three_adding_up_to_one_are_refused(fractions):
    with pytest.raises(UsageError, match="fractions"):
        split_by_prompt(encoded([0, 1]), fractions=fractions, seed=0)


def test_the_parts_are_pinned():
    # numpy's default_rng(0) permutes ten prompts to 4 6 2 7 3 5 9 0 8 1; other parts would be another test set.
    parts = split_by_prompt(encoded(range(10)), fractions=(0.6, 0.2, 0.2), seed=0)
    assert [[row.group for row in part.rows] for part in parts] == [[2, 3, 4, 5, 6, 7], [0, 9], [1, 8]]


@pytest.mark.parametrize("prompts", [1, 2, 3, 7, 299, 301, 1000, 12345])
def test_counts_of_many_prompts_are_those_given_one_by_one(prompts: int) -> None:
    rng = np.random.default_rng(prompts)
    for fractions in [(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.999, 0.0005, 0.0005), *rng.dirichlet([1, 1, 1], size=5)]:
        wanted = [i for i, fraction in enumerate(fractions) if fraction > 0]
        counts = [0, 0, 0]
        for part in wanted[:prompts]:
            counts[part] = 1
        for _ in range(prompts - sum(counts)):
            counts[max(wanted, key=lambda part: prompts * fractions[part] - counts[part])] += 1
        assert _counts(prompts, fractions) == counts

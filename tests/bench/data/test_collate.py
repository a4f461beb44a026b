"""Tensors of a batch, and the rows that KTO's KL baseline is measured on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.data.collate import collate_pairs, collate_rows, collate_singles, mismatched
from bench.data.encode import EncodedPair, EncodedSingle
from bench.errors import RunError


def pair(prompt, chosen, rejected):
    return EncodedPair(prompt_ids=prompt, chosen_ids=chosen, rejected_ids=rejected, score_gap=None, group=0)


def single(group, completion=(5,), prompt=(0, 3), desirable=True):
    return EncodedSingle(prompt_ids=prompt, completion_ids=completion, desirable=desirable, group=group)


def test_pairs_are_chosen_then_rejected_padded_on_the_right():
    found = collate_pairs([pair((0, 3), (4, 1), (5, 6, 1)), pair((0,), (7,), (1,))], pad_id=9)
    assert found.input_ids.tolist() == [[0, 3, 4, 1, 9], [0, 7, 9, 9, 9], [0, 3, 5, 6, 1], [0, 1, 9, 9, 9]]
    assert found.attention_mask.int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert found.completion_mask.int().tolist() == [[0, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]
    assert found.input_ids.dtype == torch.int64
    assert found.completion_mask.dtype == torch.bool


def test_masks_come_from_lengths_so_padding_with_eos_hides_no_token():
    found = collate_singles([single(0, (1, 1)), single(0, (5, 6, 1), desirable=False)], pad_id=1)
    assert found.completion_mask.sum(1).tolist() == [2, 3]
    assert found.attention_mask.sum(1).tolist() == [4, 5]
    assert found.desirable.tolist() == [True, False]


IDS = st.lists(st.integers(0, 9), min_size=1, max_size=6).map(tuple)


@given(rows=st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6))
def test_tensors_give_back_the_rows(rows):
    ids, seen, completions = collate_rows(rows, 0)
    back = [(tuple(i[s & ~c].tolist()), tuple(i[c].tolist())) for i, s, c in zip(ids, seen, completions, strict=True)]
    assert back == rows
    assert ids.shape[1] == max(len(p) + len(c) for p, c in rows)
    assert not bool((completions & ~seen).any())


def test_a_batch_of_no_rows_is_refused():
    for collate in (collate_pairs, collate_singles, collate_rows):
        with pytest.raises(RunError, match="no rows"):
            collate([], 0)


GROUPS = st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda groups: len(set(groups)) > 1)


@given(groups=GROUPS)
def test_a_mismatched_completion_is_the_next_one_of_another_prompt(groups):
    rows = [single(group, completion=(place,), desirable=place % 2 == 0) for place, group in enumerate(groups)]
    for place, (row, found) in enumerate(zip(rows, mismatched(rows), strict=True)):
        (source,) = found.completion_ids
        assert groups[source] != groups[place]
        between = [(place + step) % len(groups) for step in range(1, (source - place) % len(groups))]
        assert all(groups[each] == groups[place] for each in between)
        assert (found.prompt_ids, found.group, found.desirable) == (row.prompt_ids, row.group, row.desirable)


@pytest.mark.parametrize("groups", [[0], [3, 3], [1] * 8, []])
def test_a_coupled_batch_of_one_prompt_is_refused(groups):
    with pytest.raises(RunError, match=f"batch of {len(groups)} examples holds one prompt only.*at least two"):
        mismatched([single(group) for group in groups])


def test_a_long_prompt_meeting_a_long_completion_stays_within_max_length():
    rows = [single(0, (5,), prompt=(0,) * 6), single(1, (1, 2, 3, 4, 5, 6), prompt=(0,))]
    assert [row.completion_ids for row in mismatched(rows, max_length=8)] == [(1, 2), (5,)]
    assert [row.completion_ids for row in mismatched(rows)] == [(1, 2, 3, 4, 5, 6), (5,)]

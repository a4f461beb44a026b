"""Tensors of a batch, and the rows that KTO's KL baseline is measured on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.data.collate import collate_rows, mismatched
from bench.data.tokens import EncodedSingle
from bench.errors import RunError


def single(group, completion=(5,), prompt=(0, 3), desirable=True):
    return EncodedSingle(prompt_ids=prompt, completion_ids=completion, desirable=desirable, group=group)


def test_rows_are_padded_on_the_right_and_masks_come_from_lengths_so_padding_may_be_the_end_token():
    ids, seen, completions = collate_rows([((0, 3), (4, 1)), ((0,), (1,)), ((0, 3), (5, 6, 1))], pad_id=1)
    assert ids.tolist() == [[0, 3, 4, 1, 1], [0, 1, 1, 1, 1], [0, 3, 5, 6, 1]]
    assert seen.int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert completions.int().tolist() == [[0, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1]]
    assert ids.dtype == torch.int64
    assert completions.dtype == torch.bool


IDS = st.lists(st.integers(0, 9), min_size=1, max_size=6).map(tuple)


@given(rows=st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6))
def test_tensors_give_back_the_rows(rows):
    ids, seen, completions = collate_rows(rows, 0)
    back = [(tuple(i[s & ~c].tolist()), tuple(i[c].tolist())) for i, s, c in zip(ids, seen, completions, strict=True)]
    assert back == rows
    assert ids.shape[1] == max(len(p) + len(c) for p, c in rows)
    assert not bool((completions & ~seen).any())


def test_a_batch_of_no_rows_is_refused():
    with pytest.raises(RunError, match="at least one row"):
        collate_rows([], 0)


GROUPS = st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda groups: len(set(groups)) > 1)


ROWS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({group for group, _ in rows}) > 1
)


@given(drawn=ROWS)
def test_a_mismatched_completion_is_the_next_one_of_another_prompt_and_the_same_label_or_else_of_any(drawn):
    rows = [single(group, completion=(place,), desirable=label) for place, (group, label) in enumerate(drawn)]
    for place, (row, found) in enumerate(zip(rows, mismatched(rows), strict=True)):
        following = [(place + step) % len(rows) for step in range(1, len(rows))]
        others = [each for each in following if rows[each].group != row.group]
        alike = [each for each in others if rows[each].desirable == row.desirable]
        assert found.completion_ids == ((alike or others)[0],)
        assert (found.prompt_ids, found.group, found.desirable) == (row.prompt_ids, row.group, row.desirable)


@given(groups=GROUPS)
def test_pairs_side_by_side_give_as_many_rejected_completions_as_chosen_ones(groups):
    labels = [True, False] * len(groups)
    rows = [single(groups[place // 2], completion=(place,), desirable=label) for place, label in enumerate(labels)]
    sources = [row.completion_ids[0] for row in mismatched(rows)]
    assert sum(labels[source] for source in sources) == len(groups)


@pytest.mark.parametrize("groups", [[0], [3, 3], [1] * 8, []])
def test_a_coupled_batch_of_one_prompt_is_refused(groups):
    with pytest.raises(RunError, match=f"batch of {len(groups)} examples holds one prompt only.*at least two"):
        mismatched([single(group) for group in groups])


def test_a_long_prompt_meeting_a_long_completion_stays_within_max_length():
    rows = [single(0, (5,), prompt=(0,) * 6), single(1, (1, 2, 3, 4, 5, 6), prompt=(0,))]
    assert [row.completion_ids for row in mismatched(rows, max_length=8)] == [(1, 2), (5,)]
    assert [row.completion_ids for row in mismatched(rows)] == [(1, 2, 3, 4, 5, 6), (5,)]

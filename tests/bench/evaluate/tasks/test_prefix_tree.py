"""Sequences with a common beginning as one row."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.evaluate.tasks.prefix_tree import Branching, branch, lay_out

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12)


@given(sequences=SEQUENCES, longest=st.integers(9, 30))
def test_every_sequence_is_in_one_row_whole_and_no_row_exceeds_the_limit(sequences, longest):
    rows = branch(sequences, longest=longest)
    rebuilt = {
        member: [*row.trunk, *own] for row in rows for member, own in zip(row.members, row.branches, strict=True)
    }
    assert [rebuilt[number] for number in range(len(sequences))] == sequences
    assert sum(len(row.members) for row in rows) == len(sequences)
    assert all(row.tokens <= longest for row in rows)


@given(sequences=SEQUENCES)
def test_never_more_tokens_are_read_than_without_sharing(sequences):
    assert sum(row.tokens for row in branch(sequences, longest=100)) <= sum(map(len, sequences))


def test_choices_of_one_question_share_it_and_short_beginnings_are_not_worth_it():
    question, other = [1, 2, 3, 4], [1, 9, 9, 9, 9, 9, 9, 9]
    rows = branch([[*question, 5], [*question, 6, 7], question, other, question], longest=100)
    assert rows == [
        Branching((2, 4, 0, 1), question, ([], [], [5], [6, 7])),
        Branching((3,), other, ([],)),
    ]


def test_a_row_lays_its_branches_out_one_after_the_other_each_going_on_from_the_trunk():
    layout = lay_out([Branching((0, 1), [1, 2], ([3], [4, 5])), Branching((2,), [6], ([],))])
    assert layout.ids.tolist() == [[1, 2, 3, 4, 5], [6, 0, 0, 0, 0]]
    assert layout.positions.tolist() == [[0, 1, 2, 2, 3], [0, 0, 0, 0, 0]]
    assert layout.segments.tolist() == [[0, 0, 1, 2, 2], [0, -1, -1, -1, -1]]
    seen = layout.mask(torch.float32)[0, 0] == 0
    assert seen.long().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_rows_without_branches_need_no_mask():
    assert lay_out([Branching((0,), [1, 2], ([],)), Branching((1,), [1], ([],))]).mask(torch.float32) is None

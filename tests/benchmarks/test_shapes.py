"""Useful operations, counted by hand."""

import pytest

from bench.data.tokens import EncodedPair
from bench.errors import UsageError
from tests.benchmarks.shapes import Shape, forward_flops, shape_of, step_flops, tokens_of

SMALL = Shape(name="small", hidden=4, layers=3, heads=2, key_heads=1, inner=5, vocabulary=7)
PAIR = EncodedPair(prompt_ids=(2, 3), chosen_ids=(4, 5, 0), rejected_ids=(6, 0), score_gap=None, group=0)


def test_a_prompt_counts_once_and_the_vocabulary_on_completions_only():
    # Heads of width 2. Weights of a layer: query 4x4, key and value 4x2 each, output 4x4 = 48; three of 4x5 = 60; 108.
    linear = 2 * 3 * 108 * (2 + 3 + 2)
    # Seen: the prompt's tokens 1 + 2; chosen 3 + 4 + 5; rejected 3 + 4. Products with keys and values, 2 heads of 2.
    attention = 3 * (2 + 2) * (2 * 2) * (3 + 12 + 7)
    head = 2 * 4 * 7 * (3 + 2)
    assert forward_flops(SMALL, prompt=2, completions=(3, 2)) == linear + attention + head == 5872


def test_a_step_is_three_forwards_and_mismatched_rows_are_one():
    forward = forward_flops(SMALL, prompt=2, completions=(3, 2))
    assert step_flops(SMALL, [PAIR]) == 3 * forward
    assert step_flops(SMALL, [PAIR], mismatched=[(2, 3)]) == 3 * forward + forward_flops(
        SMALL, prompt=2, completions=(3,)
    )


def test_tokens_count_the_prompt_with_each_completion():
    assert tokens_of([PAIR]) == (2 + 3) + (2 + 2)


def test_an_unknown_size_is_told_with_the_near_ones():
    with pytest.raises(UsageError, match="did you mean '1M'"):
        shape_of("1")

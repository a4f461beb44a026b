"""Scored completions, the pairs that they make, and their files."""

import math
from pathlib import Path

import pytest

from bench.errors import RunError, UsageError
from bench.suites.pairs import (
    Scored,
    bradley_terry,
    completions_file,
    load_pairs,
    load_prompts,
    load_scored,
    make_pairs,
    prompts_file,
    write_scored,
)


def scored(*scores: float) -> Scored:
    return Scored(
        prompt_ids=(0, 7),
        completions=tuple((10 + number,) for number in range(len(scores))),
        scores=scores,
        ended=(False,) * len(scores),
    )


def test_every_two_completions_make_a_pair_and_equal_rewards_make_none() -> None:
    pairs = make_pairs([scored(1.0, 3.0, 1.0, -2.0)])
    assert len(pairs) == 5
    assert {(pair.chosen_ids[0], pair.rejected_ids[0]) for pair in pairs} == {
        (11, 10), (10, 13), (11, 12), (11, 13), (12, 13)
    }  # fmt: skip
    assert all(pair.chosen_score > pair.rejected_score for pair in pairs)


def test_bradley_terry_flips_as_often_as_the_model_says() -> None:
    pairs = make_pairs([scored(0.0, 1.5)]) * 4000
    relabelled = bradley_terry(pairs, temperature=2.0, seed=0)
    kept = sum(pair.chosen_score > pair.rejected_score for pair in relabelled) / len(pairs)
    expected = 1 / (1 + math.exp(-1.5 / 2.0))
    # Four standard errors of a share over 4,000 draws.
    assert abs(kept - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)
    assert {(pair.chosen_ids, pair.chosen_score) for pair in relabelled} == {((11,), 1.5), ((10,), 0.0)}


def test_bradley_terry_is_a_function_of_its_seed_and_keeps_gold_labels_when_cold() -> None:
    pairs = make_pairs([scored(0.0, 0.4, -0.8, 1.1)]) * 20
    assert bradley_terry(pairs, temperature=1.0, seed=3) == bradley_terry(pairs, temperature=1.0, seed=3)
    assert bradley_terry(pairs, temperature=1.0, seed=3) != bradley_terry(pairs, temperature=1.0, seed=4)
    assert bradley_terry(pairs, temperature=1e-6, seed=3) == pairs


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_of_labels_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        bradley_terry([], temperature=temperature, seed=0)


def test_written_completions_read_back_equal(tmp_path: Path) -> None:
    rows = [scored(0.1, -2.5), scored(1e-6, 3.0, 4.0)]
    write_scored(tmp_path / completions_file("train"), rows)
    assert load_scored(tmp_path, "train") == rows


def test_unreadable_data_is_told_by_file_and_an_unknown_split_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"pairs-train\.jsonl\.gz cannot be read"):
        load_pairs(tmp_path, "train")
    write_scored(tmp_path / completions_file("train"), [scored(1.0, 2.0)] * 50)
    whole = (tmp_path / completions_file("train")).read_bytes()
    (tmp_path / completions_file("train")).write_bytes(whole[:-12])
    with pytest.raises(RunError, match=r"pairs-train\.jsonl\.gz cannot be read"):
        load_pairs(tmp_path, "train")
    (tmp_path / prompts_file("test")).write_text("[[0, 1], 5]")
    with pytest.raises(RunError, match=r"prompts-test\.json cannot be read"):
        load_prompts(tmp_path, "test")
    with pytest.raises(UsageError, match="did you mean 'validation'"):
        load_pairs(tmp_path, "validatoin")

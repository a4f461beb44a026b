"""What is left out of a data set is what was asked for, counted; parts share no prompt."""

import pytest

from bench.core.data_options import DataOptions
from bench.data.encode import encode
from bench.data.encoded_splits import encode_splits, token_lengths, within_tokens
from bench.data.near_duplicates import near_duplicates
from bench.data.preferences import preferences_of, read_preferences
from bench.data.rows import Pair
from bench.data.split import split_by_prompt
from bench.errors import UsageError

from .conftest import PAIR, SINGLE, write_rows

FRACTIONS = (0.8, 0.1, 0.1)


def pair(prompt="The cat", chosen=" sat", rejected=" ran", **scores):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores}


def left(tmp_path, rows, **options):
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows), DataOptions(**options))
    return [row.id for row in found.rows], found.dropped


@pytest.mark.parametrize(
    ("options", "kept", "dropped"),
    [
        ({}, [1, 2, 3], {}),
        ({"min_prompt_characters": 3}, [2, 3], {"prompt too short": 1}),
        ({"max_prompt_characters": 3}, [1, 2], {"prompt too long": 1}),
        ({"min_answer_characters": 3}, [2, 3], {"answer too short": 1}),
        ({"max_answer_characters": 4}, [1, 2], {"answer too long": 1}),
    ],
)
def test_limits_in_characters_hold_for_the_prompt_and_both_answers(tmp_path, options, kept, dropped):
    rows = [pair("ab", "x", "yyyy"), pair("abc", "xxx", "yyyy"), pair("abcd", "xxx", "yyyyy")]
    assert left(tmp_path, rows, **options) == (kept, dropped)


def test_ties_and_small_margins_are_left_out_if_that_is_asked(tmp_path):
    rows = [pair(f"p{i}", chosen_score=2, rejected_score=2 - gap) for i, gap in enumerate((0, 0.5, 1, -1))]
    kept = {"reversed": "keep"}
    assert left(tmp_path, rows, **kept)[0] == [1, 2, 3, 4]
    assert left(tmp_path, rows, drop_ties=True, **kept) == ([2, 3, 4], {"tie": 1})
    assert left(tmp_path, rows, min_margin=1, **kept) == ([3], {"margin too small": 3})


def test_empty_equal_and_faulty_rows_are_refused_unless_they_are_to_be_left_out(tmp_path):
    rows = [pair(), pair(chosen=" "), pair(rejected=" sat"), pair(prompt=5)]
    for options in ({"drop_empty": True}, {"drop_equal": True}, {"drop_empty": True, "drop_equal": True}):
        with pytest.raises(UsageError, match=r"row [234]: field"):
            left(tmp_path, rows, **options)
    assert left(tmp_path, rows[:2], drop_empty=True) == ([1], {"empty answer": 1})
    assert left(tmp_path, [rows[0], rows[2]], drop_equal=True) == ([1], {"answers are equal": 1})
    everything = {"empty answer": 1, "answers are equal": 1, "faulty": 1}
    assert left(tmp_path, rows, drop_faulty=True) == ([1], everything)


def test_a_file_of_which_nothing_is_left_is_refused_with_the_counts(tmp_path):
    with pytest.raises(UsageError, match=r"no row is left of 2 \(2 × prompt too short\)"):
        left(tmp_path, [pair(), pair("x")], min_prompt_characters=100)


def test_duplicates_are_the_same_prompt_and_answers_whatever_their_scores(tmp_path):
    scored = {"chosen_score": 1, "rejected_score": 0}
    rows = [
        pair(**scored),
        pair("other", **scored),
        pair(**scored | {"chosen_score": 2}),
        pair(chosen=" lay", **scored),
    ]
    assert left(tmp_path, rows)[0] == [1, 2, 3, 4]
    assert left(tmp_path, rows, duplicates="drop") == ([1, 2, 4], {"duplicate": 1})
    singles = [SINGLE, SINGLE | {"label": False}, SINGLE]
    assert left(tmp_path, singles, duplicates="drop") == ([1, 2], {"duplicate": 1})


def test_near_prompts_are_left_out_and_rows_of_one_prompt_stay_together(tmp_path):
    long = "Write a short poem about the quiet sea in winter, please, for my dear aunt Emma"
    rows = [pair(long), pair(long, chosen=" lay"), pair(long + "!"), pair(long.upper(), " a"), pair("Another thing")]
    assert left(tmp_path, rows, duplicates="drop_near") == ([1, 2, 5], {"near duplicate": 2})


def test_the_share_of_runs_decides_what_is_near():
    texts = ["a b c d e f g h i j", "a b c d e f g h i x", "a b c x y z g h i j"]  # 8 runs each; 7 and 3 in common
    assert near_duplicates(texts, share=7 / 9) == {1}
    assert near_duplicates(texts, share=7 / 9 + 0.01) == frozenset()
    assert near_duplicates(texts, share=3 / 13) == {1, 2}


def test_rows_beyond_a_number_of_tokens_are_left_out_and_counted(make_tokenizer):
    tokenizer = make_tokenizer()
    rows = [
        Pair(prompt="x" * size, chosen="y" * size, rejected="z", id=size) for size in range(1, 9)
    ]  # BOS + size, size + EOS
    data = preferences_of(rows, source="here")
    assert tuple(token_lengths(data, tokenizer)[2]) == (4, 4, 2)
    found = within_tokens(data, tokenizer, DataOptions(max_tokens=10))
    assert [row.id for row in found.rows] == [1, 2, 3, 4]
    assert found.dropped == {"too many tokens": 4}
    assert [row.id for row in within_tokens(data, tokenizer, DataOptions(max_prompt_tokens=3)).rows] == [1, 2]
    assert within_tokens(data, tokenizer, DataOptions()) is data
    with pytest.raises(UsageError, match="no row is within the limits"):
        within_tokens(data, tokenizer, DataOptions(max_prompt_tokens=1))


def parts_of(path, tokenizer, notes=None, **options):
    note = (lambda text: None) if notes is None else notes.append
    found = encode_splits([path], DataOptions(**options), tokenizer, max_length=64, fractions=FRACTIONS, note=note)
    return found.split.parts


def test_a_file_by_itself_is_parted_as_it_always_was(tmp_path, make_tokenizer):
    path = write_rows(tmp_path / "a.jsonl", [pair(f"Row {i}") for i in range(30)])
    expected = split_by_prompt(
        encode(read_preferences(path), make_tokenizer(), max_length=64), fractions=FRACTIONS, seed=0
    )
    assert tuple(parts_of(path, make_tokenizer()).values()) == expected


def test_given_parts_are_used_whole_and_training_keeps_none_of_their_prompts(tmp_path, make_tokenizer):
    train = write_rows(tmp_path / "a.jsonl", [pair(f"Row {i}") for i in range(30)])
    validation = write_rows(tmp_path / "v.jsonl", [pair(f"Row {i}", " lay") for i in (3, 40, 41)])
    test = write_rows(tmp_path / "t.jsonl", [pair(f"Row {i}") for i in (5, 41)])
    notes = []
    parts = parts_of(train, make_tokenizer(), notes, validation=validation, test=test)
    prompts = {name: {row.prompt_ids for row in part.rows} for name, part in parts.items()}
    assert {name: len(part.rows) for name, part in parts.items()} == {"train": 28, "validation": 2, "test": 2}
    assert not prompts["train"] & (prompts["validation"] | prompts["test"])
    assert not prompts["validation"] & prompts["test"]
    assert len(notes) == 3
    assert "left out 1 rows: training prompts that the validation rows have too" in notes


def test_a_split_that_was_asked_for_is_of_the_data_and_not_of_the_given_parts(tmp_path, make_tokenizer):
    folder = tmp_path / "d"
    folder.mkdir()
    write_rows(folder / "train.jsonl", [pair(f"Row {i}") for i in range(30)])
    write_rows(folder / "eval.jsonl", [pair(f"Row {i}") for i in range(30, 40)])
    test = write_rows(tmp_path / "t.jsonl", [pair("Row 99")])
    parts = parts_of(folder, make_tokenizer(), split="validation", test=test)
    assert {name: len(part.rows) for name, part in parts.items()} == {"train": 9, "validation": 1, "test": 1}


def test_a_part_that_is_not_given_is_a_share_of_the_training_prompts(tmp_path, make_tokenizer):
    folder = tmp_path / "d"
    folder.mkdir()
    write_rows(folder / "train.jsonl", [pair(f"Row {i}") for i in range(30)])
    write_rows(folder / "test.jsonl", [pair(f"Row {i}") for i in range(30, 34)])
    parts = parts_of(folder, make_tokenizer())
    assert {name: len(part.rows) for name, part in parts.items()} == {"train": 27, "validation": 3, "test": 4}


def test_parts_of_different_kinds_are_refused(tmp_path, make_tokenizer):
    train = write_rows(tmp_path / "a.jsonl", [PAIR])
    with pytest.raises(UsageError, match="the test rows are unpaired"):
        parts_of(train, make_tokenizer(), test=write_rows(tmp_path / "t.jsonl", [SINGLE]))


def test_what_was_left_out_is_told(tmp_path, make_tokenizer):
    path = write_rows(tmp_path / "a.jsonl", [pair(f"Row {i}") for i in range(10)] * 2)
    notes = []
    parts_of(path, make_tokenizer(), notes, duplicates="drop")
    assert notes == [f"{path}: 10 rows; left out: 10 × duplicate"]

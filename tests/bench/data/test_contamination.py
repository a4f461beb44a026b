"""Prompts of an evaluation are found in training prompts: equal ones, and by runs of thirteen words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.contamination import contamination, prompts_in
from bench.errors import UsageError

from .conftest import CHAT, PAIR, write_rows
from .test_formats import HERE

WORDS = [f"w{number}" for number in range(40)]


def text(*places):
    return " ".join(WORDS[place] for place in places)


def test_equal_prompts_are_found_whatever_their_case_and_white_space():
    overlap = contamination(["How are\n you?", "Other"], ["how ARE you?", "how are they?", "How are  you?"])
    assert (overlap.evaluation, overlap.exact, overlap.touched, overlap.short) == (2, 1, 1, 2)
    assert (overlap.overlaps[0].evaluation, overlap.overlaps[0].training, overlap.overlaps[0].share) == (0, 0, 1.0)


def test_a_run_of_thirteen_words_is_found_and_one_of_twelve_is_not():
    training = ["start " + text(*range(13)) + " end"]
    inside = text(*range(30, 35), *range(13))
    overlap = contamination(training, [inside, text(*range(30, 35), *range(12))])
    assert [(each.evaluation, each.exact) for each in overlap.overlaps] == [(0, False)]
    assert overlap.overlaps[0].share == pytest.approx(1 / 6)  # 18 words have 6 runs
    assert (overlap.touched, overlap.mostly, overlap.exact) == (1, 0, 0)


def test_punctuation_and_case_do_not_hide_a_run():
    training = [text(*range(20))]
    overlap = contamination(training, [", ".join(WORDS[:20]).upper() + "!"])
    assert (overlap.mostly, overlap.exact) == (1, 0)
    assert overlap.overlaps[0].share == 1.0


def test_the_share_counts_runs_in_any_training_prompt_and_names_the_first():
    training = ["nothing of it", text(*range(10, 25)), text(*range(15))]
    overlap = contamination(training, [text(*range(26))])  # 14 runs: 3 in one, 3 in the other
    assert overlap.overlaps[0].share == pytest.approx(6 / 14)
    assert overlap.overlaps[0].training == 1


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_against_itself_every_prompt_is_found_and_against_nothing_none(rows, run):
    prompts = [text(*row) for row in rows]
    overlap = contamination(prompts, prompts, run=run)
    assert overlap.exact == overlap.mostly == overlap.touched == overlap.evaluation == len(set(prompts))
    assert contamination([], prompts, run=run).overlaps == ()


def test_the_prompts_of_a_data_set_are_compared_with_those_of_an_evaluation():
    training = prompts_in(HERE / "alpaca.json").prompts
    assert contamination(training, ["convert 45  kilometers to meters."]).exact == 1


def test_a_shared_system_message_is_no_overlap(tmp_path):
    system = {"role": "system", "content": text(*range(20))}
    rows = [{**CHAT, "prompt": [system, {"role": "user", "content": f"Question {i}?"}]} for i in range(2)]
    paths = [write_rows(tmp_path / f"{i}.jsonl", [row]) for i, row in enumerate(rows)]
    assert contamination(prompts_in(paths[0]).prompts, prompts_in(paths[1]).prompts).touched == 0


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        (PAIR, "The cat"),
        (CHAT, "The cat?"),
        ({"instruction": "Do it", "output": "x", "input": "now"}, "Do it\n\nnow"),
        ({"index": 0, "dataset": "helpful_base", "instruction": "Do it"}, "Do it"),
        ({"question_id": 81, "turns": ["First?", "Second?"]}, "First?\nSecond?"),
        ({"question": "Why?", "answer": "So."}, "Why?"),
        ({"prompt": [{"role": "user", "content": "Why?"}]}, "Why?"),
    ],
)
def test_prompts_are_found_in_files_of_preferences_and_of_questions(tmp_path, row, prompt):
    questions = prompts_in(write_rows(tmp_path / "a.jsonl", [row, row]))
    assert (questions.prompts, questions.unread) == ((prompt, prompt), 0)


def test_rows_without_an_answer_among_preferences_are_counted_and_not_taken_for_questions(tmp_path):
    dialogue = "\n\nHuman: Why?\n\nAssistant:"
    rows = [{"text": [f"{dialogue} a", dialogue + rest], "score": [1, 0]} for rest in (" b", "")]
    questions = prompts_in(write_rows(tmp_path / "a.jsonl", rows))
    assert (questions.prompts, questions.unread) == (("Why?",), 1)


def test_a_file_without_prompts_is_refused_by_row(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"question": "Why?"}, {"answer": "So."}])
    with pytest.raises(UsageError, match=r"a\.jsonl, row 2: it has no prompt"):
        prompts_in(path)
    (tmp_path / "b.jsonl").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(UsageError, match=r"b\.jsonl, row 1: invalid JSON"):
        prompts_in(tmp_path / "b.jsonl")
    with pytest.raises(UsageError, match=r"at least 1 word \(got 0\)"):
        contamination([], [], run=0)

"""MT-Bench: its questions, what a judge is shown, how grades are read, and the table."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from bench.cli.evaluate_mt_bench import evaluate_mt_bench
from bench.cli.evaluate_options import Evaluation
from bench.errors import UsageError
from bench.evaluate.judges.generate import answer_text
from bench.evaluate.judges.mt_bench import grade_in, grade_prompts, questions, read_dialogues
from bench.evaluate.judges.mt_bench_table import TurnGrade, grade_rows, terminal_table
from tests.bench.evaluate.judges.models import chat_model
from tests.bench.evaluate.judges.server import completion, serving


def test_there_are_eighty_questions_in_eight_categories_and_thirty_with_a_reference():
    all_questions = questions()
    assert [question.number for question in all_questions] == list(range(81, 161))
    assert set(pd.Series([question.category for question in all_questions]).value_counts()) == {10}
    assert len({question.category for question in all_questions}) == 8
    assert [question.number for question in all_questions if question.reference] == list(range(101, 131))


def test_the_prompt_has_question_answer_and_reference_and_of_turn_two_both_turns():
    answers = ("FIRST {question}", "SECOND \\1")
    for question in questions():
        (_, one), (_, two) = (grade_prompts(question, answers, turn=turn)[1] for turn in (1, 2))
        assert question.turns[0] in one
        assert "FIRST {question}" in one
        assert "SECOND" not in one
        assert all(text in two for text in (*question.turns, *answers))
        if question.reference:
            assert question.reference[0] in one
            assert question.reference[1] in two
        assert "[[5]]" in grade_prompts(question, answers, turn=1)[1][1]


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("Rating: [[8.5]] and not [[2]]", 8.5),
        ("Rating: [6]", 6.0),
        ("Rating: 7", None),
        ("[[11]]", 11.0),
        ("[[0]]", 0.0),
        ("[[10.]]", 10.0),
        ("[[07]]", None),
        ("[[٧]]", None),
        ("", None),
    ],
)
def test_a_grade_is_read_as_fastchat_reads_it(text, grade):
    assert grade_in(text) == grade


def test_the_error_is_over_questions_not_turns():
    rows = [
        TurnGrade(judge="j", model="m", question=81 + q, category="writing", turn=t, grade=g, outcome="judged", text="")
        for q, g in enumerate((2.0, 4.0, 6.0))
        for t in (1, 2)
    ]
    (row,) = grade_rows(rows)
    assert (row.score, row.turns[0], row.n) == (4.0, 4.0, 6)
    assert row.standard_error == pytest.approx(2 / 3**0.5)


def answers_file(folder, numbers=range(81, 161)):
    path = folder / "answers.jsonl"
    lines = [json.dumps({"question_id": n, "model_id": "mine", "turns": [f"a{n}", f"b{n}"]}) for n in numbers]
    path.write_text("\n".join(lines))
    return path


def test_grades_of_a_real_endpoint_become_a_table_and_are_not_requested_twice(tmp_path):
    def answer(body, number):
        text = body["messages"][1]["content"]
        if "a99" in text:
            return 200, completion("", finish="content_filter")
        return 200, completion("Fair. [[4]]" if "### User" in text else "Good. [[8]]" if "a82" not in text else "Good.")

    with serving(answer) as server:
        request = Evaluation(judges=(f"api:m@{server.url}",), outputs=(answers_file(tmp_path),), out=tmp_path / "out")
        evaluate_mt_bench(request)
        assert len(server.bodies) == 160
        evaluate_mt_bench(request)
        assert len(server.bodies) == 160
    row = pd.read_csv(tmp_path / "out" / "mt_bench.csv").iloc[0]
    assert (row["n"], row["missing"], row["turn_1"], row["turn_2"]) == (157, 3, 8.0, 4.0)
    stored = json.loads((tmp_path / "out" / "grades.json").read_text())
    none = {(one["question"], one["outcome"]) for one in stored if one["grade"] is None}
    assert none == {(82, "malformed"), (99, "refused")}


def test_the_judge_gets_fastchats_tokens_and_they_are_priced_and_grades_off_the_scale_count(tmp_path, capsys):
    with serving(lambda body, number: (200, completion("[[0]]" if number % 2 else "[[11]]"))) as server:
        request = Evaluation(judges=(f"api:m@{server.url}",), outputs=(answers_file(tmp_path, (81, 82)),), out=tmp_path)
        evaluate_mt_bench(replace(request, dry_run=True))
        text = " ".join(capsys.readouterr().out.split())
        assert "at most 8,192 written" in text
        assert "mine: answers 2 of 80 questions: its score is not one of MT-Bench" in text
        with pytest.raises(UsageError, match="answers of mine come from two sources"):
            evaluate_mt_bench(replace(request, outputs=request.outputs * 2))
        assert server.bodies == []
        evaluate_mt_bench(request)
        assert {(body["max_tokens"], body["temperature"]) for body in server.bodies} == {(2048, 0.0)}
    assert "4 grades are off the scale of 1 to 10" in " ".join(capsys.readouterr().out.split())
    row = pd.read_csv(tmp_path / "mt_bench.csv").iloc[0]
    assert (row["n"], row["missing"], row["score"]) == (4, 0, 5.5)


def test_the_score_is_the_mean_of_all_turns_as_fastchats_and_one_question_has_no_error(tmp_path):
    def graded(question, turn, grade):
        return TurnGrade(
            judge="j", model="m", question=question, category="math", turn=turn, grade=grade, outcome="judged", text=""
        )

    (row,) = grade_rows([graded(81, 1, 10.0), graded(81, 2, 10.0), graded(82, 1, 1.0), graded(82, 2, None)])
    assert row.score == pytest.approx(7.0)
    (one,) = grade_rows([graded(81, 1, 10.0), graded(81, 2, 9.0)])
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal_table([one]))
    text = console.export_text()
    assert "9.50" in text
    assert "±" not in text


def test_files_that_are_no_answers_are_refused(tmp_path):
    for record in ({"question_id": 80, "turns": ["a", "b"]}, {"question_id": 81, "turns": ["a"]}, {"question_id": 81}):
        (tmp_path / "bad.jsonl").write_text(json.dumps(record))
        with pytest.raises(UsageError, match="not two answers"):
            read_dialogues(tmp_path / "bad.jsonl")
    with pytest.raises(UsageError, match="twice"):
        read_dialogues(answers_file(tmp_path, (81, 81)))
    fastchat = {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["a", "b"]}]}
    (tmp_path / "fastchat.jsonl").write_text(json.dumps(fastchat))
    assert read_dialogues(tmp_path / "fastchat.jsonl")[0].answers == {81: ("a", "b")}
    with pytest.raises(UsageError, match="no grades in words"):
        evaluate_mt_bench(Evaluation(judges=("gold",), outputs=(tmp_path / "fastchat.jsonl",), out=tmp_path))


def test_a_checkpoint_says_the_likeliest_next_in_each_dialogue(tmp_path):
    folder = chat_model(tmp_path / "model")
    dialogues = [["This movie was"], ["The actors"], ["I did not", " like it.", " But"]]
    texts = answer_text(str(folder), dialogues, results=tmp_path, tokens=6, temperature=0.0, seed=0)
    assert texts == [greedy(folder, "".join(dialogue)) for dialogue in dialogues]


@pytest.mark.slow
def test_a_checkpoint_answers_both_turns_the_second_knowing_the_first(tmp_path):
    folder = chat_model(tmp_path / "model", context=8192)
    request = Evaluation(
        judges=(f"lm:{folder}",), checkpoint=str(folder), tokens=6, temperature=0.0, dry_run=True, out=tmp_path / "out"
    )
    evaluate_mt_bench(request)
    (made,) = read_dialogues(tmp_path / "out" / "answers.jsonl")
    assert sorted(made.answers) == list(range(81, 161))
    question = questions()[0]
    first, second = made.answers[question.number]
    assert greedy(folder, question.turns[0]) == first
    assert greedy(folder, question.turns[0] + first + question.turns[1]) == second


def greedy(folder, text):
    """What transformers itself generates from the text, the likeliest token each time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    made = model.float().generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=1)
    return tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)

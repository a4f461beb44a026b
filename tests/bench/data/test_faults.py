"""Faulty rows are counted by kind in one go, and rows of unusual files are read, or refused by cause."""

import json
import pickle
from collections import Counter

import pytest

from bench.cli.data_card import tables
from bench.core.data_options import DataOptions
from bench.data.card import describe
from bench.data.preferences import read_preferences, scan
from bench.data.row_errors import FAULTS_KEPT, Faults, RowError, by_kind
from bench.errors import UsageError

from .conftest import PAIR, SINGLE, assistant, user, write_rows

EQUAL = PAIR | {"rejected": PAIR["chosen"]}
EMPTY = PAIR | {"chosen": " "}


def test_faulty_rows_are_counted_by_kind_with_the_option_that_leaves_them_out(tmp_path):
    rows = [PAIR, *[EQUAL] * 5, *[EMPTY] * 6, PAIR | {"tools": ["x"]}, {"prompt": "Q", "chosen": "a"}, 7]
    path = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(UsageError) as caught:
        read_preferences(path)
    assert caught.value.problem.startswith(f"{path}, row 2: field 'rejected'")
    assert "(13 further rows are faulty too)" in caught.value.problem
    kinds = "6 empty, 5 equal, 1 with 'tools', 1 without 'rejected', 1 other"
    assert caught.value.fix.endswith(f"of all rows {kinds}; --set data.drop_faulty=true leaves them out")
    read = scan(path)
    assert read.fault_kinds == {"empty": 6, "equal": 5, "with 'tools'": 1, "without 'rejected'": 1, "other": 1}
    assert (read.faulty, len(read.faults)) == (14, FAULTS_KEPT)
    card = describe(read, source="a.jsonl")
    assert card.as_json()["fault_kinds"] == read.fault_kinds
    (table,) = [table for table in tables(card) if table.title == "Faulty rows"]
    assert table.note == f"{kinds}; --set drop_faulty=true leaves them out"
    left = scan(path, DataOptions(drop_faulty=True))
    assert left.dropped == {"answers are equal": 5, "empty answer": 6, "faulty": 3}
    assert (len(left.rows), left.fault_kinds) == (1, {})


def test_where_no_row_can_be_read_leaving_them_out_is_no_way_on(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_preferences(write_rows(tmp_path / "a.jsonl", [EQUAL, EMPTY]))
    assert caught.value.fix.endswith("of all rows 1 empty, 1 equal; no row can be read")


def test_faults_of_parts_are_those_of_the_whole_and_cross_processes():
    faults = [RowError(f"field 'x': {place} is odd", fix="even") for place in range(15)]
    whole, one, two = Faults(), Faults(), Faults()
    for place, fault in enumerate(faults):
        for each in (whole, one if place < 7 else two):
            each.add(f"row {place}", fault)
    added = pickle.loads(pickle.dumps(one)) + two
    assert [where for where, _ in added.first] == [where for where, _ in whole.first] == [f"row {i}" for i in range(10)]
    assert added.kinds == whole.kinds == Counter({"with a faulty 'x'": 15})
    assert (added.total, added.first[0][1].fix) == (15, "even")


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("field 'label': 1 is an integer", "with a faulty 'label'"),
        ("field 'chosen[0].content': [1] is a list", "with a faulty 'chosen'"),
        ("field 'prompt' is missing (columns found: a)", "without 'prompt'"),
        ("fields 'chosen' and 'rejected', or 'completion' and 'label', are missing", "without 'chosen'"),
        ("invalid JSON at column 3", "other"),
    ],
)
def test_the_kind_of_a_fault_follows_from_its_field(problem, kind):
    assert RowError(problem, fix="").kind == kind
    assert by_kind({"other": 9, kind: 1, "empty": 2}).startswith("2 empty" if kind == "other" else "2 empty, 1 ")


def dialogue(mark, *, between="\n\n", ends="\n"):
    text = between.join(["", f"{mark}Human: x?", f"{mark}Assistant: "])
    return {side: (text + answer).replace("\n", ends) for side, answer in (("chosen", "Yes"), ("rejected", "No"))}


@pytest.mark.parametrize(
    "row",
    [
        dialogue("", ends="\r\n"),
        dialogue("## "),
        dialogue("## ", ends="\r\n"),
        dialogue("### ", between=" "),
        dialogue("", between="\n"),
        {side: text.lstrip() for side, text in dialogue("").items()},
    ],
)
def test_dialogues_with_other_line_ends_and_marks_are_read(tmp_path, row):
    (read,) = read_preferences(write_rows(tmp_path / "a.jsonl", [row])).rows
    assert (read.prompt, read.chosen, read.rejected) == ((user("x?"),), (assistant("Yes"),), (assistant("No"),))
    text = read_preferences(write_rows(tmp_path / "a.jsonl", [row]), DataOptions(form="text")).rows[0]
    assert (text.chosen.strip(), text.rejected.strip()) == ("Yes", "No")
    assert text.prompt + text.chosen == row["chosen"].replace("\r\n", "\n")


def test_scored_dialogues_with_other_line_ends_are_read(tmp_path):
    prompt = "\r\n\r\nHuman: x?\r\n\r\nAssistant:"
    rows = [{"prompt": prompt, "answers": [{"answer": "Yes", "rank": 1}, {"answer": "No", "rank": 2}]}]
    (read,) = read_preferences(write_rows(tmp_path / "a.jsonl", rows)).rows
    assert read.prompt == (user("x?"),)
    ranked = [{"text": [f"{prompt} Yes", f"{prompt} No"], "score": [2, 1]}]
    assert read_preferences(write_rows(tmp_path / "b.jsonl", ranked)).rows[0].prompt == (user("x?"),)


@pytest.mark.parametrize(("sign", "score"), [(",", "1.5"), (";", "1,5"), (";", "1.5"), ("\t", "1.5")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_parted_by_semicolons_or_tabs_are_read(tmp_path, sign, score, end):
    path = tmp_path / "a.csv"
    lines = [["prompt", "chosen", "rejected", "chosen_score", "rejected_score"], ["Q, a; b?", "a", "b", score, "1"]]
    text = "".join(
        sign.join(f'"{cell}"' if "," in cell or ";" in cell else cell for cell in line) + end for line in lines
    )
    path.write_bytes(text.encode())
    (read,) = read_preferences(path).rows
    assert (read.prompt, read.chosen, read.chosen_score) == ("Q, a; b?", "a", 1.5)


def test_a_header_with_commas_keeps_its_semicolons(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('prompt,chosen,rejected,"a;b"\nQ,a,b,c\n')
    assert scan(path).columns.columns == ("prompt", "chosen", "rejected", "a;b")


def test_numbers_and_labels_of_a_csv_file_are_read_under_other_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("q,good,bad,up,down\nQ,a,b,2.5,1\nR,a,b,,\n")
    columns = "prompt=q,chosen=good,rejected=bad,chosen_score=up,rejected_score=down"
    read = scan(path, DataOptions(columns=columns))
    assert (read.rows[0].chosen_score, read.rows[0].rejected_score) == (2.5, 1.0)
    path.write_text("q,a,wanted\nQ,x,True\nR,y,false\n")
    rows = read_preferences(path, DataOptions(columns="prompt=q,completion=a,label=wanted")).rows
    assert [row.label for row in rows] == [True, False]
    path.write_text("prompt,response_0,response_1,better_response_id\nQ,a,b,1\n")
    assert read_preferences(path).rows[0].chosen == "b"
    path.write_text("q,a,wanted\nQ,x,maybe\n")
    with pytest.raises(UsageError, match="field 'label': 'maybe'"):
        read_preferences(path, DataOptions(columns="prompt=q,completion=a,label=wanted"))


TURNS = [user("Q?"), assistant("a"), user("And?")]
WRITTEN = [
    {"prompt": TURNS, "chosen": [assistant("x")], "rejected": [assistant("y")]},
    {"chosen": [*TURNS, assistant("x")], "rejected": [*TURNS, assistant("y")]},
    {
        "conversations": [{"from": "human", "value": "Q?"}],
        "chosen": {"from": "gpt", "value": "x"},
        "rejected": {"from": "gpt", "value": "y"},
    },
    {"input": {"messages": TURNS}, "preferred_output": [assistant("x")], "non_preferred_output": [assistant("y")]},
    {"messages": [*TURNS, assistant("x")], "rejected_response": "y"},
    {"question": "And?", "history": [["Q?", "a"]], "chosen": "x", "rejected": "y"},
    {"prompt": "Q?", "completions": [{"response": "x", "score": 2}, {"response": "y", "score": 1}]},
    {"prompt": "Q?", "responses": ["x", "y"], "scores": [2, 1]},
    {"prompt": TURNS, "completion": [assistant("x")], "label": True},
]


@pytest.mark.parametrize("row", WRITTEN)
def test_cells_that_hold_messages_or_lists_as_json_are_read_as_these(tmp_path, row):
    plain = read_preferences(write_rows(tmp_path / "a.jsonl", [row]))
    cells = {key: value if isinstance(value, str | bool) else json.dumps(value, indent=1) for key, value in row.items()}
    inside = read_preferences(write_rows(tmp_path / "b.jsonl", [cells]))
    assert (inside.rows, inside.format, inside.content_hash) == (plain.rows, plain.format, plain.content_hash)


def test_a_row_that_is_a_string_of_json_is_read(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [json.dumps(PAIR), json.dumps(PAIR | {"id": 1})])
    assert len(read_preferences(path).rows) == 2


@pytest.mark.parametrize(
    "text", ['{"a": 1}', "[1, 2]", "[]", '[{"name": "x"}]', "[not json", '{"role": 3}', '["role", "content"]']
)
def test_answers_that_are_json_stay_text(tmp_path, text):
    row = PAIR | {"chosen": text, "rejected": f"{text} "}
    assert read_preferences(write_rows(tmp_path / "a.jsonl", [row])).rows[0].chosen == text
    single = SINGLE | {"prompt": text, "completion": text}
    assert read_preferences(write_rows(tmp_path / "b.jsonl", [single])).rows[0].completion == text


def test_an_answer_of_messages_beside_one_of_words_stays_text(tmp_path):
    row = PAIR | {"chosen": json.dumps([assistant("x")]), "rejected": "No."}
    assert read_preferences(write_rows(tmp_path / "a.jsonl", [row])).rows[0].chosen == row["chosen"]


def test_lists_as_python_prints_them_are_refused_by_cause(tmp_path):
    row = {"chosen": str([user("Q"), assistant("a")]), "rejected": str([user("Q"), assistant("b")])}
    with pytest.raises(UsageError, match="a list as Python prints it, not JSON"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [row]))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "responses": ["a", "b"], "chosen": 0, "rejected": 1},
        {"prompt": "Q", "responses": ["a", "b"], "chosen": "0", "rejected": "1"},
        {"prompt": "Q", "chosen": 1, "rejected": 0},
        {"prompt": "Q", "response_a": "x", "response_b": "y", "chosen": "a", "rejected": "b"},
        {"prompt": "Q", "output_1": "x", "output_2": "y", "chosen": "output_2", "rejected": "output_1"},
        {"prompt": "Q", "answerA": "x", "answerB": "y", "chosen": "A", "rejected": "B"},
        {"question": "Q", "model_a": "x", "model_b": "y", "chosen": "model_a", "rejected": "model_b"},
        {"instruction": "Q", "response_0": "x", "response_1": "y", "chosen": "1", "rejected": "0"},
        {
            "conversations": [user("Q")],
            "response_a": "x",
            "response_b": "y",
            "chosen": "response_a",
            "rejected": "response_b",
        },
    ],
)
def test_an_index_in_place_of_an_answer_is_refused_by_cause(tmp_path, row):
    with pytest.raises(UsageError, match=r"fields 'chosen' and 'rejected': .* (no answers, but which of|numbers)"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [row]))


@pytest.mark.parametrize(
    "beside", [{}, {"choices": ["x", "y"]}, {"id": "a"}, {"model_a": "gpt", "judge_b": "x"}, {"a": "x"}]
)
def test_answers_that_are_letters_are_read(tmp_path, beside):
    row = {"prompt": "A or B?", "chosen": "A", "rejected": "B"} | beside
    assert read_preferences(write_rows(tmp_path / "a.jsonl", [row])).rows[0].chosen == "A"

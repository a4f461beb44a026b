"""A system text in a column is the prompt's first message in every format, or the row is refused; none is dropped."""

import json
from pathlib import Path

import pytest

from bench.core.data_options import FORMATS, DataOptions
from bench.data.contamination import prompts_in
from bench.data.preferences import read_preferences, scan
from bench.errors import UsageError

from .conftest import CHAT, PAIR, SINGLE, assistant, user, write_rows

BRIEF = "Answer in French."
SYSTEM = {"role": "system", "content": BRIEF}
TURNS = DataOptions(form="messages")
Q, A, B = user("Q?"), assistant("a"), assistant("b")
HUMAN = "\n\nHuman: Q?\n\nAssistant:"
# Every format, and each way that a format has of writing its prompt.
ROWS = {
    "plain": [PAIR, SINGLE, CHAT],
    "dialogues": [{"chosen": [Q, A], "rejected": [Q, B]}, {"prompt": "Q?", "chosen": [A], "rejected": [B]}],
    "hh": [{"chosen": f"{HUMAN} a", "rejected": f"{HUMAN} b"}],
    "orca": [{"question": "Q?", "chosen": "a", "rejected": "b", "history": [["x", "y"]]}],
    "sharegpt": [{"conversations": [{"from": "human", "value": "Q?"}], "chosen": A, "rejected": B}],
    "alpaca": [{"instruction": "Q?", "input": "x", "chosen": "a", "rejected": "b"}],
    "openai": [{"input": {"messages": [Q]}, "preferred_output": [A], "non_preferred_output": [B]}],
    "swift": [
        {"messages": [Q, A], "rejected_response": "b"},
        {"messages": [Q, A], "rejected_messages": [Q, B]},
        {"query": "Q?", "response": "a", "rejected_response": "b"},
    ],
    "kto": [{"messages": [Q, A], "label": True}, {"query": "Q?", "response": "a", "label": False}],
    "scored": [
        {"prompt": "Q?", "responses": ["a", "b"], "scores": [1, 2]},
        {"instruction": "Q?", "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]},
        {"prompt": HUMAN, "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]},
    ],
    "ranked_text": [{"text": [f"{HUMAN} a", f"{HUMAN} b"], "score": [1, 0]}],
    "saferlhf": [{"prompt": "Q?", "response_0": "a", "response_1": "b", "better_response_id": 1}],
    "alpacafarm": [{"instruction": "Q?", "input": "", "output_1": "a", "output_2": "b", "preference": 1}],
    "verdicts": [
        {"prompt": "Q?", "first": "a", "second": "b", "winner": "first"},
        {"first": [Q, A], "second": [Q, B], "first_score": 1, "second_score": 2},
    ],
    "demonstrations": [
        {"messages": [Q, A]},
        {"instruction": "Q?", "output": "a"},
        {"prompt": "Q?", "completion": "a"},
    ],
}
CASES = [(name, row) for name, rows in ROWS.items() for row in rows]


def test_every_format_is_here():
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_system_text_is_the_first_message_of_the_prompt(tmp_path, name, row):
    bare = read_preferences(write_rows(tmp_path / "bare.jsonl", [row]), TURNS)
    for column, options in (
        ("system", TURNS),
        ("system_prompt", TURNS),
        ("sys", DataOptions(form="messages", columns={"system": "sys"})),
    ):
        read = read_preferences(write_rows(tmp_path / "a.jsonl", [row | {column: BRIEF}]), options)
        assert read.format == bare.format
        assert read.format == name or "query" in row
        assert read.rows[0].prompt == (SYSTEM, *bare.rows[0].prompt)
        assert read.content_hash != bare.content_hash


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_system_column_that_says_nothing_changes_nothing(tmp_path, name, row):
    bare = read_preferences(write_rows(tmp_path / "bare.jsonl", [row]))
    for nothing in (None, "", " \n", [], {}):
        read = read_preferences(write_rows(tmp_path / "a.jsonl", [row | {"system": nothing}]))
        assert read.content_hash == bare.content_hash
    mapped = DataOptions(columns={"system": "sys"})
    assert read_preferences(write_rows(tmp_path / "a.jsonl", [row | {"sys": None}]), mapped).rows == bare.rows


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_row_that_stays_text_is_refused_with_its_system_text(tmp_path, name, row):
    path = write_rows(tmp_path / "a.jsonl", [row, row | {"system": BRIEF}])
    bare = read_preferences(write_rows(tmp_path / "bare.jsonl", [row]))
    if not isinstance(bare.rows[0].prompt, str):
        assert read_preferences(path).rows[1].prompt == (SYSTEM, *bare.rows[0].prompt)
        return
    for form in ("auto", "text"):
        with pytest.raises(UsageError) as caught:
            read_preferences(path, DataOptions(form=form))
        assert f"{path}, row 2: field 'system': '{BRIEF}' would be left out" in str(caught.value)
        assert "data.form=messages" in str(caught.value)
    assert scan(path, DataOptions(drop_faulty=True)).dropped == {"faulty": 1}


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("name", ["dialogues", "openai", "sharegpt", "kto", "plain"])
def test_a_dialogue_with_another_system_message_is_refused_and_with_the_same_one_is_read_once(tmp_path, name, role):
    def row(content):
        first = {"role": role, "content": content}
        return {
            "dialogues": {"chosen": [first, Q, A], "rejected": [first, Q, B]},
            "openai": {"input": {"messages": [first, Q]}, "preferred_output": [A], "non_preferred_output": [B]},
            "sharegpt": {"messages": [first, Q], "chosen": A, "rejected": B},
            "kto": {"messages": [first, Q, A], "label": True},
            "plain": {"prompt": [first, Q], "chosen": [A], "rejected": [B]},
        }[name] | {"system": BRIEF}

    with pytest.raises(UsageError, match=f"row 1: field 'system': '{BRIEF}' stands .* another {role} .* 'Be kind.'"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [row("Be kind.")]))
    (same,) = read_preferences(write_rows(tmp_path / "a.jsonl", [row(BRIEF)])).rows
    assert same.prompt == ({"role": role, "content": BRIEF}, Q)


def test_a_single_turn_in_messages_has_its_system_text_above_the_question_as_text(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"system": BRIEF, "question": "Q?", "chosen": "a", "rejected": "b"}])
    assert read_preferences(path, DataOptions(form="text")).rows[0].prompt == f"{BRIEF}\n\nQ?"


def test_dialogues_in_text_that_stay_text_have_no_place_for_a_system_text(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [ROWS["hh"][0] | {"system": BRIEF}])
    with pytest.raises(UsageError, match="field 'system'"):
        read_preferences(path, DataOptions(form="text"))


def test_two_system_columns_must_say_the_same(tmp_path):
    row = PAIR | {"system": BRIEF, "system_prompt": BRIEF}
    assert read_preferences(write_rows(tmp_path / "a.jsonl", [row]), TURNS).rows[0].prompt[0] == SYSTEM
    other = write_rows(tmp_path / "a.jsonl", [row | {"system_prompt": "Be kind."}])
    with pytest.raises(UsageError, match="'system' and 'system_prompt' are two system texts"):
        read_preferences(other, TURNS)


def test_a_system_column_that_is_no_string_is_refused(tmp_path):
    with pytest.raises(UsageError, match="field 'system': 3 is an integer"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR | {"system": 3}]), TURNS)


def test_prompts_of_an_evaluation_are_read_beside_a_system_column(tmp_path):
    rows = [PAIR, PAIR | {"system": BRIEF}]
    read = prompts_in(write_rows(tmp_path / "a.jsonl", rows))
    assert (read.prompts, read.unread) == (("The cat", "The cat"), 0)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (ROWS["openai"][0] | {"good": True}, {"label": "good"}),
        (ROWS["dialogues"][0] | {"topic": "x"}, {"prompt": "topic"}),
        (ROWS["alpacafarm"][0] | {"x": "Q?"}, {"prompt": "x"}),
        (ROWS["scored"][0] | {"x": 2.0}, {"chosen_score": "x"}),
        (ROWS["sharegpt"][0] | {"x": True}, {"label": "x"}),
    ],
)
def test_a_named_column_that_nothing_reads_is_an_error(tmp_path, row, columns):
    path = write_rows(tmp_path / "a.jsonl", [row])
    ((name, column),) = columns.items()
    with pytest.raises(UsageError) as caught:
        read_preferences(path, DataOptions(columns=columns))
    assert f"{path}: --columns {name}={column}: " in str(caught.value)
    assert f"have no {name}, so nothing would read it" in str(caught.value)


def test_named_columns_that_are_read_are_no_error(tmp_path: Path):
    row = {"q": "Q?", "good": "a", "bad": "b", "up": 2.0, "down": 1.0, "sys": BRIEF}
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad", "chosen_score": "up", "rejected_score": "down"}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (read,) = read_preferences(path, DataOptions(columns=columns | {"system": "sys"}, form="messages")).rows
    assert (read.prompt, read.chosen_score) == ((SYSTEM, Q), 2.0)

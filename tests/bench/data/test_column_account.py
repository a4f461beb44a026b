"""Every column of a table is accounted for: read, named as not read, or refused with the row; none is dropped."""

import json
import pickle
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cli.data_card import markdown, tables, write_cards
from bench.core.data_options import DataOptions
from bench.data.card import describe
from bench.data.column_account import ColumnAccount, is_empty, listed_unread, percent
from bench.data.column_guards import guard_of
from bench.data.encoded_splits import encode_splits, turns_if_templated
from bench.data.preferences import read_preferences, scan
from bench.data.row_errors import RowError
from bench.data.row_reader import RowReader
from bench.errors import UsageError
from bench.suites.inputs import FRACTIONS

from .conftest import CHAT, PAIR, SINGLE, assistant, user, write_rows
from .test_formats import FILES, HERE, options_of, raw
from .test_system_column import CASES as FORMATS

EMPTY = [None, "", " \n", [], {}, "[]", float("nan"), {"a": None}, [None, ""]]
FULL = ["x", "a longer text of several words", 0, 1.5, True, False, ["x"], {"a": 1}, [{"role": "user", "content": "Q"}]]
NAMES = st.sampled_from(
    (
        "id", "source", "topic", "score", "model", "question", "title", "messages", "context", "input", "instruction",
        "history", "tools", "images", "winner", "label", "preference", "system", "sys", "chosen_model", "response",
        "output", "candidates", "ratings", "status", "prompt", "Über-Größe", "a b", "x.y", "chosen_score",
        "rejected_score",
    )
)  # fmt: skip
VALUES = st.sampled_from([*EMPTY, *FULL])
ROWS = [row for _, row in FORMATS] + [PAIR, SINGLE, CHAT]


def adds_up(account: ColumnAccount) -> bool:
    return all(
        account.present[name]
        == account.read[name] + account.unread[name] + account.empty[name] + account.left_out[name]
        for name in account.present
    )


@settings(max_examples=300, deadline=None)
@given(
    base=st.sampled_from(ROWS),
    tables=st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=4),
    options=st.sampled_from(
        [DataOptions(), DataOptions(form="messages"), DataOptions(form="text"), DataOptions(drop_faulty=True)]
    ),
)
def test_the_account_of_any_table_adds_up_to_its_columns(base, tables, options):
    rows = [{**extra, **base} if place % 2 else {**base, **extra} for place, extra in enumerate(tables)]
    reader = RowReader(options)
    parts = []
    for number, row in enumerate(rows, start=1):
        alone = RowReader(options, data_format=reader.format)
        for each in (reader, alone):
            with suppress(RowError):
                each.read(row, number)
        parts.append(alone.account)
    account = reader.account
    columns = {name for row in rows for name in row}
    assert set(account.columns) == account.states().keys() == columns
    assert adds_up(account)
    assert account.rows == len(rows)
    for name in columns:
        values = [row[name] for row in rows if name in row]
        assert account.present[name] == len(values)
        assert account.empty[name] == sum(map(is_empty, values))
        # Whatever says something is read, named, or in a row that is left out.
        named = {each.name: each for each in account.not_read()}
        assert (account.unread[name] > 0) == (name in named)
        if name in named:
            assert named[name].rows == sum(not is_empty(value) for value in values)
            assert f"{name} ({percent(named[name].share)})" in listed_unread(account.not_read(), most=99)
    if reader.format and parts[0].present == account.present:
        assert parts[0] == account
    whole = sum(parts[1:], parts[0])
    assert whole.present == account.present
    assert whole.rows == account.rows
    assert pickle.loads(pickle.dumps(account)) == account


def test_accounts_of_parts_are_that_of_the_whole():
    rows = [PAIR | {"id": 1}, PAIR | {"id": None}, PAIR | {"topic": "x"}, PAIR | {"chosen": " "}]
    whole, *parts = (RowReader(DataOptions(), data_format="plain") for _ in range(3))
    for place, row in enumerate(rows):
        for reader in (whole, parts[place % 2]):
            with pytest.raises(RowError) if place == 3 else nullcontext():
                reader.read(row, place)
    assert parts[0].account + parts[1].account == whole.account
    assert whole.account.left_out["prompt"] == 1


@pytest.mark.parametrize("name", FILES)
def test_the_columns_of_published_rows_are_read_or_named_and_never_refused(name):
    read = scan(HERE / name, options_of(name))
    assert read.faulty == 0
    assert set(read.columns.columns) == {column for row in raw(name) for column in row}
    assert adds_up(read.columns)


UNREAD = {
    "orca_distilabel.jsonl": {"generations", "order", "rating", "rationale", "chosen_score", "in_gsm8k_train"},
    "capybara.jsonl": {"source", "conversation", "prompt", "chosen_model", "rejected_model"},
    "ultrafeedback_binarized.jsonl": {"prompt", "prompt_id", "messages"},
    "nectar.jsonl": {"turns", "num_responses", "source", "good_natured", "answers[].model"},
    "hh.jsonl": set(),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_of_published_rows_is_named(name):
    assert {each.name for each in scan(HERE / name).columns.not_read()} == UNREAD[name]


HARMLESS = {
    "id": "u1", "uuid": "x", "prompt_id": "p", "source": "evol", "dataset": "mix", "category": "chat", "turns": 1,
    "turn": 2, "language": "en", "timestamp": "2024-01-01", "created_at": 1700000000, "chosen_model": "gpt-4",
    "rejected_model": "llama", "chosen-model": "gpt-4", "score": 3, "scores": [1, 2], "rationale": "A long reason.",
    "critique": "c", "principle": "honesty", "model": "m", "models": ["a", "b"], "token_count": 12, "num_images": 0,
    "has_context": False, "is_safe": True, "split": "train", "url": "http://x", "original_chosen": "a", "title": "T",
    "generation_prompt": "long", "raw_generation_responses": ["r"], "topic": "t", "response": "x", "question": "x",
    "answer": "42", "labelling_model": "gpt-4", "order": ["A", "B"], "difficulty": "easy", "intent": "ask",
    "knowledge": "To solve it one needs algebra.", "weight": 0.5, "status": "unchanged", "license": "mit",
    "judgment": "Answer A is better, since it says why and where the sea is grey.", "preference_strength": 2,
    "safer_response_id": 1, "is_response_0_safe": True, "metadata": {"a": 1}, "tags": ["x"], "quality": "good",
    "reward_chosen": 0.5, "margin": 1.2, "messages_count": 2, "tools": [], "images": None, "context": " ",
    "winner": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "row"), FORMATS)
def test_harmless_columns_of_published_sets_are_named_and_not_refused(tmp_path, name, row):
    beside = {key: value for key, value in HARMLESS.items() if key not in row}
    taken = {"question", "score", "scores", "response", "status"} if name != "plain" else {"status"}
    beside = {key: value for key, value in beside.items() if key not in taken}
    read = scan(
        write_rows(tmp_path / "a.jsonl", [row | beside]), DataOptions(format=name if "query" not in row else None)
    )
    assert [fault.problem for _, fault in read.faults] == []
    states = read.columns.states()
    for key, value in beside.items():
        assert states[key] in (("empty",) if is_empty(value) else ("not read", "read"))
    assert sum(states[key] == "read" for key in beside) <= (name in ("orca", "swift"))
    assert read.rows == scan(write_rows(tmp_path / "b.jsonl", [row]), DataOptions(format=read.format)).rows


CHANGING = {
    "context": "Paris is the capital.", "documents": ["a page"], "passage": "Long ago.", "history": [["a?", "b"]],
    "chat_history": [user("Earlier?")], "chatHistory": [user("Earlier?")], "tools": [{"name": "f"}],
    "functions": '[{"name": "f"}]', "images": ["a.png"], "image": {"bytes": "x"}, "image_path": "a.png",
    "video": "a.mp4", "audios": ["a.wav"], "chat_template_kwargs": {"enable_thinking": False},
    "system_message": "Be brief.", "background": "The speaker is a child.", "schema": "CREATE TABLE t (a INT)",
    "retrieved_contexts": ["x y"],
}  # fmt: skip


@pytest.mark.parametrize("column", CHANGING)
@pytest.mark.parametrize(("name", "row"), FORMATS)
def test_a_column_that_changes_the_row_is_read_or_the_row_is_refused(tmp_path, name, row, column):
    if column in row or (column == "history" and name == "swift" and "query" in row):
        return
    with_it = row | {column: CHANGING[column]}
    read = scan(write_rows(tmp_path / "a.jsonl", [with_it]), DataOptions(form="messages"))
    if column in ("history",) and read.rows:
        assert read.columns.states()[column] == "read"
        return
    assert len(read.faults) == 1, read.rows
    assert f"'{column}'" in read.faults[0][1].problem
    left = scan(write_rows(tmp_path / "a.jsonl", [with_it]), DataOptions(form="messages", ignore=column))
    assert left.columns.states()[column] == "not read"
    assert left.rows == scan(write_rows(tmp_path / "b.jsonl", [row]), DataOptions(form="messages")).rows


@pytest.mark.parametrize(
    "beside",
    [
        {"instruction": "Where is the cat that sat on the mat?"},
        {"context": ["Where is the cat that sat on the mat?"]},
        {"messages": [user("Where is the cat that sat on the mat?"), assistant("An answer that is nowhere else.")]},
        {"conversation": [{"input": "Where is the cat that sat on the mat?", "output": "An answer of its own."}]},
        {"input": 3},
        {"context": False},
        {"is_tie": None},
    ],
)
def test_a_column_that_says_what_the_prompt_says_is_no_other_row(tmp_path, beside):
    row = PAIR | {"prompt": "Look at this.\n\nWhere is the cat that sat on the mat?"}
    row = (
        row
        if "context" in beside or "instruction" in beside
        else row | {"prompt": "Where is the cat that sat on the mat?"}
    )
    read = scan(write_rows(tmp_path / "a.jsonl", [row | beside]))
    assert (len(read.rows), read.faulty) == (1, 0)


@pytest.mark.parametrize("beside", [{"instruction": "cat"}, {"context": "The"}, {"history": [["The", "cat"]]}])
def test_a_short_text_that_the_prompt_has_by_accident_is_no_quotation(tmp_path, beside):
    assert scan(write_rows(tmp_path / "a.jsonl", [PAIR | beside])).faulty == 1


@pytest.mark.parametrize("value", ["b", 1, 0, True, "model_a", "tie"])
@pytest.mark.parametrize("column", ["winner", "preference", "verdict", "choice", "gpt4_winner", "winner_model"])
def test_a_verdict_beside_a_pair_stops_the_reading(tmp_path, column, value):
    read = scan(write_rows(tmp_path / "a.jsonl", [PAIR | {column: value}]))
    assert read.fault_kinds == {f"with '{column}'": 1}


def test_a_pair_that_calls_itself_a_tie_is_one_in_every_format(tmp_path):
    for row in (
        PAIR,
        {"instruction": "Q", "chosen": "a", "rejected": "b"},
        {"question": "Q", "chosen": "a", "rejected": "b"},
    ):
        read = scan(write_rows(tmp_path / "a.jsonl", [row, row | {"status": "tie"}]))
        assert (len(read.rows), read.dropped) == (1, {"tie": 1})


def test_names_are_known_however_they_are_spelt():
    assert {guard_of(name) for name in ("chat_history", "chatHistory", "Chat-History", "CHAT HISTORY")} == {"turns"}
    assert [guard_of(name) for name in ("contextual", "inputs_count", "toolbox", "imagine", "labelling_model")] == [
        ""
    ] * 5


def test_fields_inside_answers_and_messages_are_named_with_the_share_of_rows(tmp_path):
    answer = {"response": "a", "score": 1, "critique": "long", "model": None}
    rows = [
        {"prompt": "Q", "completions": [answer, answer | {"response": "b", "score": 2, "critique": ""}]},
        {"prompt": "Q", "completions": [{"response": "c", "score": 1}, {"response": "d", "score": 2}]},
    ]
    (unread,) = scan(write_rows(tmp_path / "a.jsonl", rows)).columns.not_read()
    assert (unread.name, unread.rows, unread.share) == ("completions[].critique", 1, 0.5)
    weighted = {"chosen": [user("Q"), assistant("a") | {"weight": 1}], "rejected": [user("Q"), assistant("b")]}
    (unread,) = scan(write_rows(tmp_path / "b.jsonl", [weighted])).columns.not_read()
    assert unread.name == "chosen[].weight"
    inside = {"input": {"messages": [user("Q")], "parallel_tool_calls": True, "tools": []}}
    sides = {"preferred_output": [assistant("a")], "non_preferred_output": [assistant("b")]}
    (unread,) = scan(write_rows(tmp_path / "c.jsonl", [inside | sides])).columns.not_read()
    assert unread.name == "input.parallel_tool_calls"


@pytest.mark.parametrize("key", ["tool_calls", "images", "reasoning_content", "function_call"])
@pytest.mark.parametrize(
    "row", [CHAT, {"conversations": [{"from": "human", "value": "Q"}], "chosen": "a", "rejected": "b"}]
)
def test_a_message_that_says_more_than_its_words_is_refused(tmp_path, row, key):
    name = "prompt" if "prompt" in row else "conversations"
    row = row | {name: [row[name][0] | {key: ["x"]}]}
    with pytest.raises(UsageError, match=f"the message also has '{key}'"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [row]))


def test_columns_under_other_names_are_accounted_by_their_own(tmp_path):
    row = {"q": "Q?", "answers": {"good": "a", "bad": "b", "model": "m"}, "chosen": "old", "id": 1, "sys": None}
    options = DataOptions(columns="prompt=q,chosen=answers.good,rejected=answers.bad")
    account = scan(write_rows(tmp_path / "a.jsonl", [row]), options).columns
    assert account.states() == {"q": "read", "answers": "read", "chosen": "not read", "id": "not read", "sys": "empty"}
    assert [each.name for each in account.not_read()] == ["chosen", "id", "answers.model"]


def test_a_column_to_ignore_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"data\.ignore names 'contxt', which no row has"):
        read_preferences(
            write_rows(tmp_path / "a.jsonl", [PAIR | {"context": "x"}]), DataOptions(ignore="context,contxt")
        )


def test_what_is_not_read_is_on_the_card_and_on_the_terminal_of_a_run(tmp_path, chat):
    rows = [PAIR | {"prompt": f"Cat {i}?", "id": i, "topic": "x" if i < 5 else None} for i in range(20)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    card = describe(scan(path), source="a.jsonl")
    assert card.columns == dict.fromkeys(PAIR, "read") | {"id": "not read", "topic": "not read"}
    (table,) = [table for table in tables(card) if table.title == "Columns that are not read"]
    assert table.rows == (("id", "20", "100 %"), ("topic", "5", "25 %"))
    assert "| topic | 5 | 25 % |" in markdown(table)
    for suffix in (".json", ".html", ".md"):
        write_cards([card], tmp_path / f"card{suffix}")
        assert "topic" in (tmp_path / f"card{suffix}").read_text()
    (written,) = json.loads((tmp_path / "card.json").read_text())
    assert written["not_read"] == [
        {"name": "id", "rows": 20, "share": 1.0},
        {"name": "topic", "rows": 5, "share": 0.25},
    ]
    notes: list[str] = []
    options = turns_if_templated(DataOptions(), chat)
    encode_splits([path], options, chat, max_length=128, fractions=FRACTIONS, note=notes.append)
    assert f"{path}: columns that are not read: id (100 %), topic (25 %)" in notes

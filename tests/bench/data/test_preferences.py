"""Reading preference files: every container gives the same rows, every fault is named where it is."""

import dataclasses
import json

import pytest

from bench.data.preferences import preferences_of, read_preferences
from bench.data.rows import Pair, Single
from bench.errors import UsageError

from .conftest import CHAT, PAIR, SINGLE, assistant, user, write_rows

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")


def changed(row, **changes):
    return {key: value for key, value in (row | changes).items() if value is not ...}


@pytest.mark.parametrize("row", [PAIR, SINGLE, CHAT, PAIR | {"chosen_score": 2, "rejected_score": 0.5}])
def test_all_containers_of_the_same_rows_read_alike_and_hash_alike(tmp_path, row):
    rows = [row, changed(row, prompt=[user("Été – 日本?")] if row is CHAT else "Été – 日本?")]
    found = [read_preferences(write_rows(tmp_path / f"a{suffix}", rows)) for suffix in SUFFIXES]
    assert len({each.content_hash for each in found}) == 1
    assert all(each.rows == found[0].rows for each in found)
    assert found[0].kind == ("unpaired" if row is SINGLE else "pairs")
    assert [each.id for each in found[0].rows] == [1, 2]


def test_fields_are_read_as_given(tmp_path):
    pair = read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR | {"score_chosen": 3, "score_rejected": 1}])).rows[0]
    assert pair == Pair(**PAIR, chosen_score=3.0, rejected_score=1.0, id=1)
    single = read_preferences(write_rows(tmp_path / "b.jsonl", [changed(SINGLE, label=False)])).rows[0]
    assert single == Single(prompt="The cat", completion=" sat on the mat", label=False, id=1)
    dialogue = read_preferences(write_rows(tmp_path / "c.jsonl", [CHAT])).rows[0]
    assert dialogue.prompt == (user("The cat?"),)


def test_blank_lines_a_byte_order_mark_and_other_fields_change_no_row_but_its_line_number(tmp_path):
    plain = read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR, PAIR]))
    path = tmp_path / "b.jsonl"
    line = json.dumps(PAIR | {"id": "x", "source": None})
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n{line}".encode())
    marked = read_preferences(path)
    assert marked.content_hash == plain.content_hash
    assert [row.id for row in marked.rows] == [1, 3]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\x1e"])
def test_line_separators_of_unicode_inside_a_string_end_no_row(tmp_path, separator):
    path = tmp_path / "a.jsonl"
    row = PAIR | {"chosen": f"a{separator}b"}
    path.write_text(json.dumps(row, ensure_ascii=ord(separator) < 32) + "\n", encoding="utf-8")
    assert read_preferences(path).rows[0].chosen == f"a{separator}b"


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt", "x"), ("chosen", "x"), ("rejected", "x"), ("chosen_score", 9.0), ("rejected_score", 0.5)],
)
def test_the_hash_depends_on_every_field_that_is_read(tmp_path, field, value):
    row = PAIR | {"chosen_score": 1.0, "rejected_score": 0.0}
    one, two = (read_preferences(write_rows(tmp_path / "a.jsonl", [r])) for r in (row, row | {field: value}))
    assert one.content_hash != two.content_hash


def test_the_hash_depends_on_order_and_label(tmp_path):
    other = SINGLE | {"prompt": "A dog"}
    files = ([SINGLE, other], [other, SINGLE], [SINGLE, other | {"label": False}])
    assert len({read_preferences(write_rows(tmp_path / "a.jsonl", rows)).content_hash for rows in files}) == 3


BAD_ROWS = [
    # row, field (as the message must name it), value shown, what is said
    ([1, 2], "", "[1, 2]", "not an object"),
    ("text", "", "'text'", "not an object"),
    (None, "", "None", "null, not an object"),
    ({}, "'prompt'", "none", "missing"),
    (changed(PAIR, rejected=...), "'rejected'", "prompt, chosen", "missing"),
    (changed(PAIR, chosen=None), "'chosen'", "prompt, rejected", "missing"),
    (changed(SINGLE, label=None), "'label'", "prompt, completion", "missing"),
    (changed(SINGLE, completion=...), "'completion'", "prompt, label", "missing"),
    (changed(SINGLE, prompt=...), "'prompt'", "completion, label", "missing"),
    (changed(PAIR, chosen=..., rejected=...), "'chosen'", "prompt", "missing"),
    (changed(PAIR, prompt=7), "'prompt'", "7", "an integer"),
    (changed(PAIR, chosen=1.5), "'chosen'", "1.5", "a number"),
    (changed(PAIR, rejected={"text": "x"}), "'rejected'", "{'text': 'x'}", "an object"),
    (changed(PAIR, chosen=[]), "'chosen'", "[]", "empty list"),
    (changed(PAIR, chosen=" \n\t"), "'chosen'", "' \\n\\t'", "white space"),
    (changed(PAIR, rejected=""), "'rejected'", "''", "empty"),
    (changed(PAIR, prompt="", chosen=""), "'chosen'", "''", "prompt and completion are both empty"),
    (changed(SINGLE, completion="  "), "'completion'", "'  '", "white space"),
    (changed(PAIR, rejected=PAIR["chosen"]), "'rejected'", "' sat on the mat'", "equal to 'chosen'"),
    (changed(PAIR, chosen="\ud83d"), "'chosen'", "\\ud83d", "no character"),
    (changed(SINGLE, label=1), "'label'", "1 is an integer", "not a boolean"),
    (changed(SINGLE, label=0), "'label'", "0 is an integer", "not a boolean"),
    (changed(SINGLE, label="true"), "'label'", "'true'", "not a boolean"),
    (PAIR | SINGLE, "", "chosen, completion, label", "both formats"),
    (PAIR | {"chosen_score": 1}, "'rejected_score'", "'chosen_score'", "missing"),
    (PAIR | {"rejected_score": 1}, "'chosen_score'", "'rejected_score'", "missing"),
    (PAIR | {"chosen_score": "9", "rejected_score": 1}, "'chosen_score'", "'9'", "a string"),
    (PAIR | {"chosen_score": 1, "rejected_score": True}, "'rejected_score'", "True", "a boolean"),
    (PAIR | {"chosen_score": float("nan"), "rejected_score": 1}, "'chosen_score'", "nan", "not finite"),
    (PAIR | {"chosen_score": 1, "rejected_score": float("-inf")}, "'rejected_score'", "-inf", "not finite"),
    (PAIR | {"chosen_score": 10**400, "rejected_score": 1}, "'chosen_score'", "1000", "not finite"),
    (changed(PAIR, chosen=[assistant("x")]), "'chosen'", "a list of messages", "but 'prompt' is a string"),
    (CHAT | {"rejected": "x"}, "'rejected'", "'x'", "but 'prompt' is a list"),
    (CHAT | {"prompt": [user("a"), assistant("b")]}, "'prompt'", "'b'", "the assistant's"),
    (CHAT | {"chosen": [user("a")]}, "'chosen'", "user", "one message of the assistant"),
    (CHAT | {"chosen": [*CHAT["prompt"], assistant("a")]}, "'chosen'", "user, assistant", "repeat the prompt"),
    (CHAT | {"chosen": [assistant(" ")]}, "'chosen'", "' '", "white space"),
    (CHAT | {"prompt": ["hello"]}, "'prompt[0]'", "'hello'", "no message"),
    (CHAT | {"prompt": [user("a"), {"role": "human", "content": "x"}]}, "'prompt[1].role'", "'human'", "no role"),
    (CHAT | {"chosen": [{"role": "assistant", "content": [1]}]}, "'chosen[0].content'", "[1]", "a list"),
    (CHAT | {"chosen": [assistant("a") | {"tool_calls": [1]}]}, "'chosen[0]'", "'tool_calls'", "also has"),
    (CHAT | {"prompt": [{"from": "human", "value": "x"}]}, "'prompt[0]'", "'human'", "rename from to role"),
]


@pytest.mark.parametrize(("row", "field", "value", "said"), BAD_ROWS)
def test_a_bad_row_is_named_by_file_row_field_and_value(tmp_path, row, field, value, said):
    path = write_rows(tmp_path / "data.jsonl", [row])
    with pytest.raises(UsageError) as caught:
        read_preferences(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, row 1: ")
    assert field in message
    assert value in message
    assert said in message
    assert caught.value.fix
    assert "further" not in message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_container_names_the_row_of_a_fault(tmp_path, suffix):
    path = write_rows(tmp_path / f"a{suffix}", [PAIR, PAIR, changed(PAIR, chosen=" ")])
    with pytest.raises(UsageError, match=r"row 3: field 'chosen'"):
        read_preferences(path)


def test_the_first_fault_is_told_with_the_number_of_further_ones(tmp_path):
    bad = changed(SINGLE, label=1)
    with pytest.raises(UsageError, match=r"row 2: field 'label'.*\(2 further rows are faulty too\)"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [SINGLE, bad, SINGLE, bad, bad]))
    with pytest.raises(UsageError, match=r"row 1: field 'label'.*\(1 further row is faulty too\)"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [bad, bad]))


def test_long_values_are_shortened(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_preferences(write_rows(tmp_path / "a.jsonl", [changed(PAIR, chosen="x" * 10_000, rejected="x" * 10_000)]))
    assert len(str(caught.value)) < 400
    assert "…" in str(caught.value)


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (PAIR, SINGLE, "unpaired (completion, label), but row 1 is of pairs"),
        (SINGLE, PAIR, "pairs (chosen, rejected), but row 1 is of unpaired"),
        (PAIR, CHAT, "lists of messages, but row 1 is of plain strings"),
        (PAIR, PAIR | {"chosen_score": 1, "rejected_score": 0}, "with scores"),
    ],
)
def test_mixed_schemas_are_refused_naming_both_rows(tmp_path, first, other, said):
    with pytest.raises(UsageError, match="row 7: ") as caught:
        read_preferences(write_rows(tmp_path / "a.jsonl", [first] * 6 + [other]))
    assert said in str(caught.value)
    assert "schemas are mixed" in str(caught.value)


@pytest.mark.parametrize("columns", [["text"], ["prompt"], ["question", "answer"], ["chosen"], ["output"]])
def test_columns_that_hold_no_preference_are_told_with_the_accepted_ones(tmp_path, columns):
    with pytest.raises(UsageError) as caught:
        read_preferences(write_rows(tmp_path / "a.json", [dict.fromkeys(columns, "x")]))
    message = str(caught.value)
    assert "row 1" in message
    assert f"columns found: {', '.join(columns)}" in message
    assert "prompt, chosen, rejected" in message
    assert "prompt, completion, label" in message


def test_preferences_are_frozen_and_of_one_kind():
    pair, single = Pair(**PAIR, id=1), Single(**SINGLE, id=2)
    with pytest.raises(UsageError, match="mixes pairs and unpaired"):
        preferences_of([pair, single], source="here")
    with pytest.raises(UsageError, match="no rows"):
        preferences_of([], source="here")
    with pytest.raises(dataclasses.FrozenInstanceError):
        preferences_of([pair], source="here").kind = "unpaired"

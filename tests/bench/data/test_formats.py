"""Every known format is read from rows that its own project wrote, and broken rows are refused by name."""

import json
from pathlib import Path

import pytest

from bench.data.options import DataOptions
from bench.data.preferences import Pair, Single, read_preferences
from bench.data.readers.names import FORMATS
from bench.data.readers.turns import ASSISTANT
from bench.errors import UsageError

from .conftest import assistant, user, write_rows

HERE = Path(__file__).parent / "fixtures"
FILES = {
    # file: format, rows read, rows in the file, in messages
    "trl_pairs.jsonl": ("plain", 5, 5, False),
    "trl_chat_pairs.jsonl": ("plain", 5, 5, True),
    "trl_unpaired.jsonl": ("plain", 5, 5, False),
    "trl_implicit_prompt.jsonl": ("dialogues", 5, 5, True),
    "torchtune_hh.json": ("dialogues", 1, 1, True),
    "ultrafeedback_binarized.jsonl": ("dialogues", 2, 2, True),
    "hh.jsonl": ("hh", 4, 4, True),
    "orca.jsonl": ("orca", 2, 2, True),
    "orca_distilabel.jsonl": ("orca", 1, 1, True),
    "sharegpt.json": ("sharegpt", 4, 4, True),
    "axolotl.json": ("sharegpt", 1, 1, True),
    "alpaca.json": ("alpaca", 6, 6, False),
    "openai.jsonl": ("openai", 1, 1, True),
    "swift.jsonl": ("swift", 1, 1, True),
    "kto.json": ("kto", 4, 4, True),
    "ultrafeedback.jsonl": ("scored", 2, 3, False),
    "distilabel.jsonl": ("scored", 1, 2, False),
    "ranked_text.json": ("ranked_text", 1, 1, True),
    "saferlhf.jsonl": ("saferlhf", 1, 1, False),
    "alpacafarm.json": ("alpacafarm", 2, 3, False),
    "alpaca_sft.json": ("demonstrations", 4, 4, False),
    "trl_prompt_completion.jsonl": ("demonstrations", 5, 5, False),
    "trl_messages.jsonl": ("demonstrations", 5, 5, True),
}
UNPAIRED = ("trl_unpaired.jsonl", "kto.json", "alpaca_sft.json", "trl_prompt_completion.jsonl", "trl_messages.jsonl")


def raw(name: str) -> list[dict]:
    text = (HERE / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_project_is_recognised_and_read(name):
    form, rows, in_file, in_messages = FILES[name]
    found = read_preferences(HERE / name)
    assert (found.format, len(found.rows), len(raw(name))) == (form, rows, in_file)
    assert sum(found.dropped.values()) == in_file - rows
    assert found.kind == ("unpaired" if name in UNPAIRED else "pairs")
    assert {isinstance(row.prompt, tuple) for row in found.rows} == {in_messages}


@pytest.mark.parametrize("name", FILES)
def test_a_format_named_is_read_as_the_one_recognised(name):
    named = read_preferences(HERE / name, DataOptions(format=FILES[name][0]))
    assert named == read_preferences(HERE / name)


def test_there_is_a_file_for_every_format():
    assert {form for form, *_ in FILES.values()} == FORMATS.keys()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("orca.jsonl", 0),
        ("sharegpt.json", 2),
        ("openai.jsonl", 0),
        ("axolotl.json", 0),
        ("torchtune_hh.json", 0),
        ("swift.jsonl", 0),
    ],
)
def test_the_prompt_and_both_answers_are_where_the_format_has_them(name, row):
    source = raw(name)[row]
    found = read_preferences(HERE / name).rows[row]
    expected = {
        "orca.jsonl": lambda: (
            ({"role": "system", "content": source["system"]}, user(source["question"])),
            source["chosen"],
            source["rejected"],
        ),
        "sharegpt.json": lambda: (
            tuple(
                {"role": {"human": "user", "gpt": "assistant"}.get(t["from"], t["from"]), "content": t["value"]}
                for t in source["conversations"]
            ),
            source["chosen"]["value"],
            source["rejected"]["value"],
        ),
        "openai.jsonl": lambda: (
            tuple(source["input"]["messages"]),
            source["preferred_output"][0]["content"],
            source["non_preferred_output"][0]["content"],
        ),
        "axolotl.json": lambda: (
            tuple(source["messages"]),
            source["chosen"]["content"],
            source["rejected"]["content"],
        ),
        "torchtune_hh.json": lambda: (
            (source["chosen"][0],),
            source["chosen"][-1]["content"],
            source["rejected"][-1]["content"],
        ),
        "swift.jsonl": lambda: (
            tuple(source["messages"][:-1]),
            source["messages"][-1]["content"],
            source["rejected_response"],
        ),
    }[name]()
    assert (found.prompt, found.chosen[0]["content"], found.rejected[0]["content"]) == expected


def test_an_empty_system_message_is_left_out():
    assert read_preferences(HERE / "orca.jsonl").rows[1].prompt == (user("Name a prime number above ten."),)


@pytest.mark.parametrize("name", ["alpaca.json", "alpaca_sft.json", "alpacafarm.json"])
def test_an_input_stands_below_its_instruction(name):
    found = {row.id: row.prompt for row in read_preferences(HERE / name).rows}
    for number, prompt in found.items():
        source = raw(name)[number - 1]
        given = source["input"]
        assert prompt == (f"{source['instruction']}\n\n{given}" if given else source["instruction"])


def raw_sides(row):
    return row["chosen"], row["rejected"]


def common(one, two):
    return next(place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)


def test_the_border_of_two_dialogues_is_their_last_common_answer_and_not_the_longest_common_text():
    source = raw("hh.jsonl")
    messages = read_preferences(HERE / "hh.jsonl").rows
    texts = read_preferences(HERE / "hh.jsonl", DataOptions(form="text")).rows
    assert any(common(*raw_sides(row)) > len(text.prompt) for row, text in zip(source, texts, strict=True))
    for given, message, text in zip(source, messages, texts, strict=True):
        assert text.prompt.endswith(ASSISTANT)
        assert (text.prompt + text.chosen, text.prompt + text.rejected) == (given["chosen"], given["rejected"])
        turns = given["chosen"].split("\n\n")
        assert len(message.prompt) == sum(turn.startswith(("Human:", "Assistant:")) for turn in turns) - 1
        assert [turn["role"] for turn in message.prompt] == ["user", "assistant"] * (len(message.prompt) // 2) + [
            "user"
        ]
        assert message.chosen == (assistant(text.chosen.strip()),)


def test_the_prompt_of_whole_dialogues_is_what_they_share_and_scores_are_kept():
    row = read_preferences(HERE / "ultrafeedback_binarized.jsonl").rows[0]
    assert row.prompt == (user("Add 2 and 2."),)
    assert (row.chosen, row.rejected) == ((assistant("4"),), (assistant("5"),))
    assert (row.chosen_score, row.rejected_score) == (10.0, 1.0)


def test_of_scored_answers_the_best_meets_the_worst_and_ties_are_counted():
    found = read_preferences(HERE / "ultrafeedback.jsonl")
    assert [(row.chosen, row.rejected) for row in found.rows] == [
        ("Grey and patient, the sea counts its stones.", "Sea."),
        ("4", "5"),
    ]
    assert [(row.chosen_score, row.rejected_score) for row in found.rows] == [(9.0, 2.0), (10.0, 1.0)]
    assert found.dropped == {"tie": 1}


def test_all_pairs_of_four_scored_answers_are_five_where_two_tie():
    found = read_preferences(HERE / "ultrafeedback.jsonl", DataOptions(pairs="all"))
    assert [row.id for row in found.rows] == [1, 1, 1, 1, 1, 3]
    assert all(row.chosen_score > row.rejected_score for row in found.rows)
    assert found.dropped == {"tie": 2}


def test_another_score_makes_other_pairs():
    found = read_preferences(HERE / "ultrafeedback.jsonl", DataOptions(score="fine-grained_score"))
    assert (found.rows[0].chosen, found.rows[0].rejected) == ("Sea.", "The sea is big.")


def test_a_row_with_one_score_gives_no_pair_and_is_counted():
    assert read_preferences(HERE / "distilabel.jsonl").dropped == {"fewer than two scores": 1}


def test_a_preference_for_the_second_answer_chooses_it_and_a_half_is_a_tie():
    found = read_preferences(HERE / "alpacafarm.json")
    source = raw("alpacafarm.json")
    assert [row.chosen for row in found.rows] == [source[0]["output_1"], source[1]["output_2"]]
    assert found.dropped == {"tie": 1}


def test_a_prompt_without_answers_gives_no_pair_and_is_counted(tmp_path):
    rows = [*raw("ultrafeedback.jsonl"), {"instruction": "Say no.", "completions": []}]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows))
    assert found.dropped == {"tie": 1, "fewer than two scores": 1}


def test_sides_in_lists_of_one_message_answer_the_turns_beside_them(tmp_path):
    rows = [row | {side: [row[side]] for side in ("chosen", "rejected")} for row in raw("sharegpt.json")]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows))
    assert found.content_hash == read_preferences(HERE / "sharegpt.json").content_hash


def test_the_safer_answer_can_be_chosen_in_place_of_the_better_one():
    better = read_preferences(HERE / "saferlhf.jsonl").rows[0]
    safer = read_preferences(HERE / "saferlhf.jsonl", DataOptions(score="safer_response_id")).rows[0]
    assert (better.chosen, better.rejected) == (safer.rejected, safer.chosen)


def test_demonstrations_are_wanted_answers():
    for name in ("alpaca_sft.json", "trl_prompt_completion.jsonl", "trl_messages.jsonl"):
        rows = read_preferences(HERE / name).rows
        assert all(isinstance(row, Single) and row.label for row in rows)


def test_columns_by_name_make_the_rows_that_our_own_names_make(tmp_path):
    plain = read_preferences(HERE / "trl_pairs.jsonl")
    rows = [{"question": r["prompt"], "a": {"good": r["chosen"]}, "bad": r["rejected"]} for r in raw("trl_pairs.jsonl")]
    path = write_rows(tmp_path / "a.jsonl", rows)
    found = read_preferences(path, DataOptions(columns="prompt=question,chosen=a.good,rejected=bad"))
    assert found.rows == plain.rows
    with pytest.raises(UsageError, match=r"row 1: field 'worse' is missing, which --columns takes for rejected"):
        read_preferences(path, DataOptions(columns="prompt=question,chosen=a.good,rejected=worse"))


@pytest.mark.parametrize("name", ["trl_pairs.jsonl", "trl_unpaired.jsonl", "alpaca.json"])
def test_text_as_messages_and_back_is_the_same_text(tmp_path, name):
    texts = read_preferences(HERE / name)
    messages = read_preferences(HERE / name, DataOptions(form="messages"))
    assert all(row.prompt == (user(text.prompt),) for row, text in zip(messages.rows, texts.rows, strict=True))
    rows = [
        {key: value for key, value in vars(row).items() if key not in ("id", "shard") and value is not None}
        for row in messages.rows
    ]
    back = read_preferences(write_rows(tmp_path / "a.jsonl", rows), DataOptions(form="text"))
    assert back.content_hash == texts.content_hash != messages.content_hash


# What these files hashed to before any other format was known.
HASHES = {
    "trl_pairs.jsonl": "dcba9491f214aaf8f324346464c2b70802d7de61b78bd289cc1d16d5faa0f2e0",
    "trl_unpaired.jsonl": "f8403fc329543a28c571cd17aa62e1a9632611b49c4c24c2cdaf61e3fb2af207",
    "trl_chat_pairs.jsonl": "3de8189d13e184b01a82a05e1f4f26b9cc458d0ca4ed7ad1f78922a0c736b37a",
}


@pytest.mark.parametrize("name", HASHES)
def test_files_that_were_read_before_keep_their_hash(name):
    assert read_preferences(HERE / name).content_hash == HASHES[name]


def test_columns_of_other_formats_beside_ours_change_no_hash(tmp_path):
    row = {"prompt": "a é", "chosen": " b", "rejected": " c", "chosen_score": 2, "rejected_score": 0.5}
    other = {"prompt": "a", "chosen": " b", "rejected": " c", "score_chosen": 1.5, "score_rejected": 1.5}
    rows = [row | {"question": "x", "messages": [], "system": "s"}, other | {"instruction": "i"}]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows))
    assert found.content_hash == "2b5be0fefaa85db63e5aaf6fcbbd705b2520dfd0e24936f924ae5061ebe517f7"


def broken(name: str, **changes: object) -> dict:
    return {key: value for key, value in (raw(name)[0] | changes).items() if value is not ...}


BROKEN = [
    # a good file's row, what is changed, the field that the message names, what it says
    ("trl_pairs.jsonl", {"rejected": ["x"]}, "rejected[0]", "no message"),
    ("trl_chat_pairs.jsonl", {"chosen": [user("x")]}, "chosen", "one message of the assistant"),
    ("trl_unpaired.jsonl", {"label": "yes"}, "label", "not a boolean"),
    (
        "trl_implicit_prompt.jsonl",
        {"rejected": [user("Another?"), assistant("x")]},
        "rejected",
        "before the last answer",
    ),
    ("ultrafeedback_binarized.jsonl", {"score_chosen": ...}, "chosen_score", "missing"),
    ("hh.jsonl", {"rejected": "\n\nHuman: Other.\n\nAssistant: x"}, "rejected", "no «\\n\\nAssistant:» in common"),
    ("orca.jsonl", {"question": 7}, "question", "an integer"),
    ("orca.jsonl", {"rejected": None}, "rejected", "missing"),
    ("sharegpt.json", {"chosen": {"from": "wizard", "value": "x"}}, "chosen.from", "no speaker"),
    ("sharegpt.json", {"conversations": []}, "conversations", "an empty list"),
    ("alpaca.json", {"rejected": " "}, "rejected", "only white space"),
    ("alpaca.json", {"input": ["x"]}, "input", "a list"),
    ("openai.jsonl", {"input": {"prompt": "x"}}, "input.messages", "missing"),
    ("openai.jsonl", {"non_preferred_output": "x"}, "non_preferred_output", "a string"),
    ("swift.jsonl", {"messages": [user("x")]}, "messages", "answer of the assistant has to be last"),
    ("kto.json", {"label": 1}, "label", "not a boolean"),
    ("kto.json", {"messages": [user("x"), {"role": "assistant", "content": ""}]}, "messages", "empty"),
    ("ultrafeedback.jsonl", {"completions": [{"response": "x"}] * 2}, "completions", "missing"),
    ("ultrafeedback.jsonl", {"completions": [{"overall_score": 1.0}] * 2}, "completions[0]", "no answer in it"),
    ("distilabel.jsonl", {"ratings": [1.0]}, "ratings", "1 numbers for 3 of 'generations'"),
    ("distilabel.jsonl", {"ratings": ["1", "2", "3"]}, "ratings[0]", "a string"),
    ("ranked_text.json", {"score": []}, "score", "an empty list"),
    ("saferlhf.jsonl", {"better_response_id": 2}, "better_response_id", "neither 0 nor 1"),
    ("alpacafarm.json", {"preference": 3}, "preference", "neither 1 nor 2"),
    ("alpacafarm.json", {"preference": ...}, "preference", "missing"),
    ("alpaca_sft.json", {"output": ""}, "output", "empty"),
    ("trl_messages.jsonl", {"messages": [assistant("x")]}, "messages", "has to be last"),
    ("trl_prompt_completion.jsonl", {"completion": None}, "completion", "missing"),
]


@pytest.mark.parametrize(("name", "changes", "field", "said"), BROKEN)
def test_a_broken_row_of_any_format_is_refused_by_file_row_and_field(tmp_path, name, changes, field, said):
    rows = raw(name)
    path = write_rows(tmp_path / "data.jsonl", [*rows, broken(name, **changes)])
    with pytest.raises(UsageError) as caught:
        read_preferences(path, DataOptions(format=FILES[name][0]))
    message = str(caught.value)
    assert message.startswith(f"{path}, row {len(rows) + 1}: ")
    assert f"'{field}" in message
    assert said in message
    assert caught.value.fix


def test_dialogues_whose_prompt_cannot_be_told_are_refused():
    with pytest.raises(UsageError, match=r"row 1: fields 'chosen' and 'rejected'.*unknown where the prompt ends"):
        read_preferences(HERE / "trl_implicit_text.jsonl")


def test_a_first_row_without_its_rejected_answer_does_not_turn_a_file_into_demonstrations(tmp_path):
    rows = raw("alpaca.json")
    path = write_rows(tmp_path / "a.jsonl", [rows[0] | {"rejected": None}, *rows[1:]])
    with pytest.raises(UsageError, match=r"row 1: field 'rejected' is missing"):
        read_preferences(path)
    without = {key: value for key, value in rows[0].items() if key not in ("chosen", "rejected")}
    path = write_rows(tmp_path / "b.jsonl", [without, *rows[1:]])
    with pytest.raises(UsageError, match=r"row 2: the row has 'chosen', 'rejected'"):
        read_preferences(path)


def test_pairs_of_a_dialogue_that_goes_on_after_the_border_are_refused_as_messages_and_read_as_text(tmp_path):
    row = {
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "rejected": "\n\nHuman: a\n\nAssistant: e",
    }
    path = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(UsageError, match=r"field 'chosen': .* has further turns"):
        read_preferences(path)
    found = read_preferences(path, DataOptions(form="text")).rows[0]
    assert isinstance(found, Pair)
    assert found.chosen == " b\n\nHuman: c\n\nAssistant: d"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "alpacca"}, "did you mean 'alpaca'"),
        ({"columns": "prompt"}, "no NAME=COLUMN"),
        ({"columns": "promt=a"}, "did you mean 'prompt'"),
        ({"columns": "prompt=a,prompt=b"}, "stands twice"),
        ({"min_prompt_characters": 5, "max_prompt_characters": 4}, "is more than"),
        ({"split": "a b"}, "no name of a split"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options, said):
    with pytest.raises(ValueError, match="validation error") as caught:
        DataOptions(**options)
    assert said in str(caught.value)


def test_the_documentation_names_every_format_and_every_option():
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"\n| `{name}` |" not in text or f"\n{name} " not in text] == []
    assert [name for name in DataOptions.model_fields if f"`{name}`" not in text] == []

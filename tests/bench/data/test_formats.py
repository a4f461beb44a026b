"""Every known format is read from rows that its own project wrote, and broken rows are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.data_options import FORMATS, DataOptions
from bench.data.preferences import read_preferences
from bench.data.readers.messages import ASSISTANT
from bench.data.rows import Single
from bench.errors import UsageError

from .conftest import assistant, user, write_rows

HERE = Path(__file__).parent / "fixtures"
FILES = {
    # file: format, rows read, rows in the file, in messages
    "trl_pairs.jsonl": ("plain", 5, 5, False),
    "trl_chat_pairs.jsonl": ("plain", 5, 5, True),
    "trl_unpaired.jsonl": ("plain", 5, 5, False),
    "nemo_pairs.json": ("plain", 2, 2, False),
    "trl_implicit_prompt.jsonl": ("dialogues", 5, 5, True),
    "torchtune_hh.json": ("dialogues", 1, 1, True),
    "ultrafeedback_binarized.jsonl": ("dialogues", 2, 2, True),
    "capybara.jsonl": ("dialogues", 1, 1, True),
    "distilabel_dpo.jsonl": ("dialogues", 1, 1, True),
    "handbook.jsonl": ("dialogues", 1, 1, True),
    "hh.jsonl": ("hh", 4, 4, True),
    "orca.jsonl": ("orca", 2, 2, True),
    "orca_distilabel.jsonl": ("orca", 1, 2, True),
    "history.jsonl": ("orca", 1, 1, True),
    "sharegpt.json": ("sharegpt", 4, 4, True),
    "axolotl.json": ("sharegpt", 1, 1, True),
    "alpaca.json": ("alpaca", 6, 6, False),
    "distilabel_math.jsonl": ("alpaca", 1, 1, False),
    "openai.jsonl": ("openai", 1, 1, True),
    "swift.jsonl": ("swift", 2, 2, True),
    "swift_query.jsonl": ("swift", 3, 3, True),
    "kto.json": ("kto", 4, 4, True),
    "swift_kto.jsonl": ("kto", 3, 3, True),
    "ultrafeedback.jsonl": ("scored", 1, 1, False),
    "ultrafeedback_ties.jsonl": ("scored", 2, 3, False),
    "distilabel.jsonl": ("scored", 2, 2, False),
    "distilabel_input.jsonl": ("scored", 3, 3, False),
    "lmflow.json": ("scored", 2, 2, False),
    "nectar.jsonl": ("scored", 1, 1, True),
    "nemo_ranks.json": ("scored", 2, 2, True),
    "ranked_text.json": ("ranked_text", 1, 1, True),
    "saferlhf.jsonl": ("saferlhf", 1, 1, False),
    "alpacafarm.json": ("alpacafarm", 2, 3, False),
    "verdicts.jsonl": ("verdicts", 3, 5, False),
    "alpaca_sft.json": ("demonstrations", 4, 4, False),
    "trl_prompt_completion.jsonl": ("demonstrations", 5, 5, False),
    "trl_messages.jsonl": ("demonstrations", 5, 5, True),
}
# What is to be decided before a file can be read: answers with system texts of their own, scores that contradict.
DECIDED: dict[str, dict[str, str]] = {
    "ultrafeedback.jsonl": {"answer_system": "ignore"},
    "ultrafeedback_ties.jsonl": {"score": "overall_score"},
}
UNPAIRED = (
    "trl_unpaired.jsonl",
    "kto.json",
    "swift_kto.jsonl",
    "alpaca_sft.json",
    "trl_prompt_completion.jsonl",
    "trl_messages.jsonl",
)


def options_of(name: str, **more: Any) -> DataOptions:
    return DataOptions(**DECIDED.get(name, {}), **more)


def raw(name: str) -> list[dict]:
    text = (HERE / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    rows = json.loads(text)
    return rows if isinstance(rows, list) else rows["instances"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_project_is_recognised_and_read(name):
    form, rows, in_file, in_messages = FILES[name]
    found = read_preferences(HERE / name, options_of(name))
    assert (found.format, len(found.rows), len(raw(name))) == (form, rows, in_file)
    assert sum(found.dropped.values()) == in_file - rows
    assert found.kind == ("unpaired" if name in UNPAIRED else "pairs")
    assert {isinstance(row.prompt, tuple) for row in found.rows} == {in_messages}


@pytest.mark.parametrize("name", FILES)
def test_a_format_named_is_read_as_the_one_recognised(name):
    named = read_preferences(HERE / name, options_of(name, format=FILES[name][0]))
    assert named == read_preferences(HERE / name, options_of(name))


def earlier(source: dict) -> list[dict]:
    return [turn for asked, answered in source["history"] for turn in (user(asked), assistant(answered))]


def test_there_is_a_file_for_every_format():
    assert {form for form, *_ in FILES.values()} == FORMATS.keys()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("orca.jsonl", 1),
        ("sharegpt.json", 2),
        ("openai.jsonl", 0),
        ("axolotl.json", 0),
        ("torchtune_hh.json", 0),
        ("swift.jsonl", 1),
        ("swift_query.jsonl", 2),
        ("history.jsonl", 0),
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
        "swift_query.jsonl": lambda: (
            ({"role": "system", "content": source["system"]}, *earlier(source), user(source["query"])),
            source["response"],
            source["rejected_response"],
        ),
        "history.jsonl": lambda: (
            (*earlier(source), user(source["question"])),
            source["response_chosen"],
            source["response_rejected"],
        ),
    }[name]()
    assert (found.prompt, found.chosen[0]["content"], found.rejected[0]["content"]) == expected


def test_an_empty_system_message_is_left_out():
    first = raw("orca.jsonl")[0]
    assert first["system"] == ""
    assert read_preferences(HERE / "orca.jsonl").rows[0].prompt == (user(first["question"]),)


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
    for row in read_preferences(HERE / "ultrafeedback_binarized.jsonl").rows:
        assert row.prompt == (user("Name a fruit."),)
        assert (row.chosen, row.rejected) == ((assistant("Apple."),), (assistant("Carrot."),))
        assert (row.chosen_score, row.rejected_score) == (8.0, 3.0)


@pytest.mark.parametrize(
    ("name", "scores"),
    [("capybara.jsonl", (5.0, 2.0)), ("distilabel_dpo.jsonl", (1.0, -1.0)), ("distilabel_math.jsonl", (9.0, 7.0))],
)
def test_ratings_of_the_two_answers_are_their_scores(name, scores):
    row = read_preferences(HERE / name).rows[0]
    assert (row.chosen_score, row.rejected_score) == scores


def test_the_system_message_of_whole_dialogues_is_part_of_the_prompt():
    row = read_preferences(HERE / "handbook.jsonl").rows[0]
    assert row.prompt == tuple(raw("handbook.jsonl")[0]["messages"][:-1])
    assert [turn["role"] for turn in row.prompt] == ["system", "user", "assistant", "user"]


def test_the_same_preference_in_two_formats_is_the_same_pair():
    ranked = read_preferences(HERE / "ranked_text.json").rows[0]
    whole = read_preferences(HERE / "hh.jsonl").rows[0]
    assert (ranked.prompt, ranked.chosen, ranked.rejected) == (whole.prompt, whole.chosen, whole.rejected)


def test_a_labelled_answer_to_a_query_has_its_system_message_and_earlier_turns_before_it():
    source = raw("swift_kto.jsonl")
    rows = read_preferences(HERE / "swift_kto.jsonl").rows
    assert rows[0].prompt == (user(source[0]["query"]),)
    system = {"role": "system", "content": source[2]["system"]}
    assert rows[2].prompt == (system, *earlier(source[2]), user(source[2]["query"]))
    assert [(row.completion, row.label) for row in rows] == [((assistant(r["response"]),), r["label"]) for r in source]


def test_rows_with_pictures_are_refused_and_not_read_without_them(tmp_path):
    rows = raw("swift_images.jsonl")
    with pytest.raises(UsageError, match=r"row 1: field 'images': .*only text is compared"):
        read_preferences(HERE / "swift_images.jsonl")
    for place, row in enumerate(rows):
        path = write_rows(tmp_path / f"{place}.jsonl", [row])
        with pytest.raises(UsageError, match=r"field 'images'"):
            read_preferences(path)
    text = raw("swift.jsonl")
    found = read_preferences(write_rows(tmp_path / "a.jsonl", [*text, *rows]), DataOptions(drop_faulty=True))
    assert (len(found.rows), sum(found.dropped.values())) == (len(text), len(rows))


def test_rejected_messages_are_the_rejected_response_behind_the_same_turns(tmp_path):
    rows = raw("swift_images.jsonl")
    assert rows[0]["rejected_messages"][-1]["content"] == rows[2]["rejected_response"]
    text = [{key: value for key, value in row.items() if not key.endswith("images")} for row in (rows[0], rows[2])]
    found = [read_preferences(write_rows(tmp_path / f"{i}.jsonl", [row])) for i, row in enumerate(text)]
    assert [each.format for each in found] == ["swift", "swift"]
    assert found[0].rows == found[1].rows
    row = text[0] | {"rejected_messages": [user("What is that?"), *text[0]["rejected_messages"][1:]]}
    with pytest.raises(UsageError, match=r"'rejected_messages': its dialogue leaves that of 'messages' at message 1"):
        read_preferences(write_rows(tmp_path / "b.jsonl", [row]))


def test_a_system_message_that_strings_cannot_hold_is_refused(tmp_path):
    for name in ("alpaca.json", "alpaca_sft.json", "distilabel_math.jsonl"):
        for beside in ({"system": "Be brief."}, {"history": [["a", "b"]]}):
            path = write_rows(tmp_path / "a.jsonl", [raw(name)[0] | beside])
            with pytest.raises(UsageError, match=f"row 1: field '{next(iter(beside))}': .* would be left out"):
                read_preferences(path)
        empty = [row | {"system": "", "history": []} for row in raw(name)]
        found = read_preferences(write_rows(tmp_path / "a.jsonl", empty))
        assert found.content_hash == read_preferences(HERE / name).content_hash


def test_sides_in_lists_of_one_message_answer_the_turns_beside_them(tmp_path):
    rows = [row | {side: [row[side]] for side in ("chosen", "rejected")} for row in raw("sharegpt.json")]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows))
    assert found.content_hash == read_preferences(HERE / "sharegpt.json").content_hash


def test_the_safer_answer_can_be_chosen_in_place_of_the_better_one(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [raw("saferlhf.jsonl")[0] | {"safer_response_id": 0}])
    better = read_preferences(path).rows[0]
    safer = read_preferences(path, DataOptions(score="safer_response_id")).rows[0]
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
    rows = [row | {"question": "x", "messages": [], "system": " "}, other | {"instruction": "a"}]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows))
    assert found.content_hash == "2b5be0fefaa85db63e5aaf6fcbbd705b2520dfd0e24936f924ae5061ebe517f7"


def test_the_documentation_names_every_format_and_every_option():
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"\n| `{name}` |" not in text or f"\n{name} " not in text] == []
    assert [name for name in DataOptions.model_fields if f"`{name}`" not in text] == []

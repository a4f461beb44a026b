"""A row that cannot be right is refused by file, row and field, and so are options that cannot be."""

import pytest

from bench.core.data_options import DataOptions
from bench.data.preferences import read_preferences
from bench.data.rows import Pair
from bench.errors import UsageError

from .conftest import assistant, user, write_rows
from .test_formats import FILES, HERE, options_of, raw


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
    ("distilabel.jsonl", {"ratings": [1.0]}, "ratings", "1 numbers for 2 of 'generations'"),
    ("distilabel.jsonl", {"ratings": ["1", "2"]}, "ratings[0]", "a string"),
    ("distilabel.jsonl", {"system": "Be brief."}, "system", "Be brief."),
    ("lmflow.json", {"output": [{"score": 1.0}]}, "output[0]", "no answer in it"),
    ("nectar.jsonl", {"answers": [{"answer": 7, "rank": 1}, {"answer": "x", "rank": 2}]}, "answers[0]", "an integer"),
    ("swift_query.jsonl", {"history": [["x"]]}, "history", "no list of [question, answer]"),
    ("swift_query.jsonl", {"images": ["x.png"]}, "images", "only text is compared"),
    ("swift_kto.jsonl", {"response": None}, "response", "missing"),
    ("history.jsonl", {"response_rejected": None}, "response_rejected", "missing"),
    ("distilabel_math.jsonl", {"rejected_rating": None}, "rejected_score", "missing"),
    ("nemo_pairs.json", {"chosen_response": ["x"]}, "chosen_response[0]", "no message"),
    ("sharegpt.json", {"tools": "[{}]"}, "tools", "only text is compared"),
    ("ranked_text.json", {"score": []}, "score", "an empty list"),
    ("saferlhf.jsonl", {"better_response_id": 2}, "better_response_id", "neither 0 nor 1"),
    ("alpacafarm.json", {"preference": 3}, "preference", "neither 1 nor 2"),
    ("alpacafarm.json", {"preference": 0}, "preference", "neither 1 nor 2"),
    ("verdicts.jsonl", {"winner": 1}, "winner", "does not say by itself"),
    ("verdicts.jsonl", {"second": ...}, "second", "missing"),
    (
        "ultrafeedback.jsonl",
        {"completions": [{"response": "x", "score": 1, "reward": 2}, {"response": "y", "score": 2, "reward": 1}]},
        "completions",
        "contradict each other",
    ),
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
        read_preferences(path, options_of(name, format=FILES[name][0]))
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
        ({"columns": "prompt"}, "must have the form prompt=question"),
        ({"columns": "promt=a"}, "did you mean 'prompt'"),
        ({"columns": "prompt=a,prompt=b"}, "must name each field once"),
        (
            {"min_prompt_characters": 5, "max_prompt_characters": 4},
            "at most max_prompt_characters (got 5 and 4)",
        ),
        ({"split": "a b"}, "split must be a name"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options, said):
    with pytest.raises(ValueError, match="validation error") as caught:
        DataOptions(**options)
    assert said in str(caught.value)

"""Texts that a template wrote are taken apart into the turns that made them, or the row is refused; none is guessed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.data_options import DataOptions
from bench.data.card import describe
from bench.data.encode import encode
from bench.data.preferences import read_preferences, scan
from bench.data.template_text import looks_written, written_dialogue
from bench.errors import UsageError

from .conftest import PAIR, SINGLE, assistant, user, write_rows

TURNS = DataOptions(form="messages")
SYSTEM = {"role": "system", "content": "Be kind."}
EARLIER = [user("Hi there?"), assistant("Hello.")]
QUESTION = user("What is 2+2?")


def chatml(turns):
    return "".join(f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in turns) + "<|im_start|>assistant\n"


def llama3(turns):
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    said = "".join(head.format(t["role"]) + f"{t['content']}<|eot_id|>" for t in turns)
    return f"<|begin_of_text|>{said}{head.format('assistant')}"


def llama4(turns):
    return (
        llama3(turns)
        .replace("start_header_id", "header_start")
        .replace("end_header_id", "header_end")
        .replace("eot_id", "eot")
    )


def gemma(turns):
    names = {"assistant": "model"}
    said = "".join(f"<start_of_turn>{names.get(t['role'], t['role'])}\n{t['content']}<end_of_turn>\n" for t in turns)
    return f"<bos>{said}<start_of_turn>model\n"


def zephyr(turns):
    return "".join(f"<|{t['role']}|>\n{t['content']}</s>\n" for t in turns) + "<|assistant|>\n"


def phi(turns):
    return "".join(f"<|{t['role']}|>\n{t['content']}<|end|>\n" for t in turns) + "<|assistant|>\n"


def command_r(turns):
    names = {"system": "SYSTEM", "user": "USER", "assistant": "CHATBOT"}
    head = "<|START_OF_TURN_TOKEN|><|{}_TOKEN|>"
    said = "".join(head.format(names[t["role"]]) + f"{t['content']}<|END_OF_TURN_TOKEN|>" for t in turns)
    return f"<BOS_TOKEN>{said}{head.format('CHATBOT')}"


def deepseek(turns):
    ends = {"user": "<｜User｜>{}", "assistant": "<｜Assistant｜>{}<｜end▁of▁sentence｜>"}
    return "<｜begin▁of▁sentence｜>" + "".join(ends[t["role"]].format(t["content"]) for t in turns) + "<｜Assistant｜>"


def llama2(turns):
    system = ""
    if turns[0]["role"] == "system":
        system, turns = f"<<SYS>>\n{turns[0]['content']}\n<</SYS>>\n\n", turns[1:]
    said = ""
    for place, turn in enumerate(turns):
        first = system if place == 0 else ""
        said += f"<s>[INST] {first}{turn['content']} [/INST]" if turn["role"] == "user" else f" {turn['content']} </s>"
    return said


def worded(mark, human="Human", helper="Assistant", between="\n\n"):
    def write(turns):
        names = {"user": human, "assistant": helper}
        said = "".join(f"{between}{mark}{names[t['role']]}: {t['content']}" for t in turns)
        return f"{said}{between}{mark}{helper}:"

    return write


WITH_SYSTEM = {
    "chatml": chatml, "llama3": llama3, "llama4": llama4, "gemma": gemma, "zephyr": zephyr, "phi": phi,
    "command_r": command_r, "llama2": llama2,
}  # fmt: skip
WITHOUT = {
    "deepseek": deepseek,
    "hh": worded(""),
    "hh, one line": worded("", between="\n"),
    "## Human": worded("## "),
    "### Human on one line": worded("### ", between=" "),
    "###Human": worded("###", between="\n"),
    "USER": worded("", "USER", "ASSISTANT", "\n"),
    "User": worded("", "User", "Assistant", "\n\n"),
    "### Instruction": worded("### ", "Instruction", "Response"),
}
WRITERS = {**WITH_SYSTEM, **WITHOUT}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("earlier", [[], EARLIER, EARLIER * 2])
def test_a_prompt_that_a_template_wrote_is_the_turns_that_it_was_made_of(tmp_path, name, earlier):
    turns = [*earlier, QUESTION]
    for begun in (turns, [SYSTEM, *turns]) if name in WITH_SYSTEM else (turns,):
        text = WRITERS[name](begun)
        rows = [
            {"prompt": text, "chosen": " 4", "rejected": "5"},
            {"prompt": [user(text)], "chosen": [assistant(" 4")], "rejected": [assistant("5")]},
            {"prompt": text.replace("\n", "\r\n"), "chosen": " 4", "rejected": "5"},
        ]
        for row in rows:
            (read,) = read_preferences(write_rows(tmp_path / "a.jsonl", [row]), TURNS).rows
            assert read.prompt == tuple(begun)
            assert (read.chosen[0]["content"].strip(), read.rejected) == ("4", (assistant("5"),))
        card = describe(scan(write_rows(tmp_path / "a.jsonl", rows[:1])), source="a")
        assert card.form == "strings"
        assert (card.template_marks.written, card.template_marks.rows > 0) == (1, True) or "Human:" not in name


@pytest.mark.parametrize("end", ["<|im_end|>", "<|im_end|>\n", ""])
def test_the_mark_that_ends_an_answer_goes_with_the_prompts_marks(tmp_path, end):
    row = {"prompt": chatml([QUESTION]), "chosen": f"4{end}", "rejected": f"5{end}"}
    (read,) = read_preferences(write_rows(tmp_path / "a.jsonl", [row]), TURNS).rows
    assert (read.chosen, read.rejected) == ((assistant("4"),), (assistant("5"),))
    single = {"prompt": chatml([QUESTION]), "completion": f"4{end}", "label": False}
    (read,) = read_preferences(write_rows(tmp_path / "b.jsonl", [single]), TURNS).rows
    assert read.completion == (assistant("4"),)


def test_an_answer_with_its_own_header_follows_a_prompt_without_it(tmp_path):
    prompt = chatml([QUESTION]).removesuffix("<|im_start|>assistant\n")
    answers = {"chosen": "<|im_start|>assistant\n4<|im_end|>", "rejected": "<|im_start|>assistant\n5<|im_end|>"}
    (read,) = read_preferences(write_rows(tmp_path / "a.jsonl", [{"prompt": prompt} | answers]), TURNS).rows
    assert (read.prompt, read.chosen, read.rejected) == ((QUESTION,), (assistant("4"),), (assistant("5"),))


DOUBTFUL = [
    # two turns of one side, text before the first turn, an answer already begun, a mark in a turn, an empty turn
    "<|im_start|>user\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nSure, ",
    "<|im_start|>user\na <|im_start|> b<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\na<|eot_id|><|im_end|>\n<|im_start|>user\n",
    "Read this: <|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n",
    "\n\nHuman: a\n\nHuman: b\n\nAssistant:",
    "\n\nHuman: a\n\nAssistant: b",
    "\n\nAssistant: a\n\nHuman: b\n\nAssistant:",
    "Hello.\n\nHuman: a\n\nAssistant:",
    "a\n\nAssistant: b\n\nHuman: c",
    "[INST] a [/INST] b [/INST] c [INST]",
]


@pytest.mark.parametrize("text", DOUBTFUL)
def test_a_text_whose_turns_are_in_doubt_is_refused_with_its_row_and_read_as_text(tmp_path, text):
    for row in (
        PAIR | {"prompt": text},
        {"prompt": [user(text)], "chosen": [assistant("a")], "rejected": [assistant("b")]},
    ):
        path = write_rows(tmp_path / "a.jsonl", [row])
        with pytest.raises(UsageError, match=r"row 1: field 'prompt': the text has .* templated twice") as caught:
            read_preferences(path, TURNS)
        assert "data.form=text" in caught.value.fix
        assert scan(path, DataOptions(form="messages", drop_faulty=True)).dropped == {"faulty": 1}
        assert scan(path, TURNS).fault_kinds == {"with a template in the text": 1}
    assert read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR | {"prompt": text}])).rows[0].prompt == text


@pytest.mark.parametrize("field", ["chosen", "rejected", "completion"])
@pytest.mark.parametrize("text", ["It sat.\n\nHuman: And then?\n\nAssistant: It slept.", "It sat.\n\nHuman: Thanks"])
def test_an_answer_that_goes_on_for_the_user_is_refused(tmp_path, field, text):
    row = (SINGLE if field == "completion" else PAIR) | {field: text}
    with pytest.raises(UsageError, match=f"field '{field}': the text has"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [row]), TURNS)
    templated = row | {"prompt": worded("")([QUESTION])}
    with pytest.raises(UsageError, match=f"field '{field}': the text has"):
        read_preferences(write_rows(tmp_path / "a.jsonl", [templated]), TURNS)


@pytest.mark.parametrize(
    "text",
    [
        "Human: is that a name?",
        "The Human: a short story",
        "Is [INST] a tag?",
        "What does <|im_start|> mean?",
        "User: anonymous\nDate: today\nWrite a letter.",
        "# User guide\n\nWrite the first chapter.",
        "### Instruction:\nSay hi.",
        "Explain `<s>[INST]`",
    ],
)
def test_words_that_only_look_like_marks_stay_words(tmp_path, text):
    (read,) = read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR | {"prompt": text}]), TURNS).rows
    assert read.prompt == (user(text),)


def test_a_dialogue_about_a_template_stays_as_it_is():
    assert looks_written("In ChatML a turn begins with <|im_start|>, and ends with <|im_end|>.") is None
    assert written_dialogue("Human: hi") is not None  # but a prompt has to wait for its answer
    assert written_dialogue("hi") is None


CONTENT = st.text(st.sampled_from("ab \n.:#<|>[]/sHuman"), min_size=1, max_size=30)


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(sorted(WRITERS)), texts=st.lists(CONTENT, min_size=1, max_size=5), begun=st.booleans())
def test_what_is_taken_apart_is_what_was_written_together(name, texts, begun):
    texts = texts if len(texts) % 2 else texts[:-1]
    turns = [(user, assistant)[place % 2](text) for place, text in enumerate(texts)]
    if begun and name in WITH_SYSTEM:
        turns = [SYSTEM, *turns]
    dialogue = written_dialogue(WRITERS[name](turns))
    if dialogue is not None and dialogue.waiting:
        assert [turn["role"] for turn in dialogue.turns] == [turn["role"] for turn in turns]
        stripped = [" ".join(turn["content"].split()) for turn in dialogue.turns]
        assert stripped == [" ".join(turn["content"].split()) for turn in turns]


def test_a_run_encodes_the_turns_once(tmp_path, chat):
    plain = PAIR | {"prompt": [QUESTION], "chosen": [assistant("4")], "rejected": [assistant("5")]}
    written = PAIR | {"prompt": chatml([QUESTION]), "chosen": "4<|im_end|>", "rejected": "5<|im_end|>"}
    one, two = (
        encode(read_preferences(write_rows(tmp_path / "a.jsonl", [row]), TURNS), chat, max_length=64).pairs
        for row in (plain, written)
    )
    assert one == two
    assert chat.decode(two[0].prompt_ids).count("<|im_start|>") == 2


def test_whole_dialogues_between_other_marks_are_pairs(tmp_path):
    for name in ("chatml", "## Human", "### Human on one line", "USER", "hh, one line"):
        text = WRITERS[name]([*EARLIER, QUESTION])
        path = write_rows(tmp_path / "a.jsonl", [{"chosen": f"{text} 4", "rejected": f"{text} 5"}])
        (read,) = read_preferences(path).rows
        assert (read.prompt, read.chosen, read.rejected[0]["content"].strip()) == (
            (*EARLIER, QUESTION),
            (assistant(" 4" if name == "chatml" else "4"),),
            "5",
        )
        (text_row,) = read_preferences(path, DataOptions(form="text")).rows
        assert text_row.prompt + text_row.chosen == f"{text} 4"
        assert text_row.chosen.strip() == "4"


def test_rows_keep_their_hash_where_nothing_was_templated(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(PAIR) + "\n")
    assert read_preferences(path, TURNS).rows[0].prompt == (user("The cat"),)

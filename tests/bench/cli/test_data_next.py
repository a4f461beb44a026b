"""`bench data describe --model`: tokens as the run encodes them, and the command that it ends with."""

import json
import random
import shlex
from pathlib import Path

import pytest

from bench.core.data_options import DataOptions
from bench.core.request import RunRequest
from bench.data.tokens import pairs_in, singles_in
from bench.models.sources import find_source
from bench.models.start_tokenizer import start_tokenizer
from bench.runner.plan import make_plan
from tests.bad_inputs.trying import bench
from tests.bench.models.chat_models import WORDS, make_llama, make_tokenizer
from tests.bench.models.write_gguf import write_llama

PAIRS, LABELS = "pairs.jsonl", "labels.jsonl"
SHORT = ("--trials", 1, "--seeds", 1, "--set", "train.steps=2", "--set", "evaluation.tokens=4", "--workers", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Models with and without a chat template, one of a short context, one as GGUF; pairs, labels and dialogues."""
    here = tmp_path_factory.mktemp("place")
    for name, template in (("chat", True), ("base", False)):
        tokenizer = make_tokenizer() if template else make_tokenizer(template=None)
        make_llama(max_position_embeddings=1024).save_pretrained(here / name)
        tokenizer.save_pretrained(here / name)
    make_llama(max_position_embeddings=128).save_pretrained(here / "short")
    make_tokenizer().save_pretrained(here / "short")
    write_llama(
        here / "gguf.gguf", make_llama(max_position_embeddings=1024), make_tokenizer(), kind="gpt2", pre="gpt-2"
    )
    draw = random.Random(0)

    def text(count: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(count))

    pairs = [{"question": f"{text(5)} {n}", "good": text(8), "bad": text(4)} for n in range(20)]
    write(here / PAIRS, pairs)
    write(here / "faulty.jsonl", [*pairs, {"question": "the", "good": "cat", "bad": "cat"}])
    labels = [{"prompt": f"{text(5)} {n}", "completion": text(6), "label": n % 2 == 0} for n in range(40)]
    write(here / LABELS, labels)
    write(here / "wanted.jsonl", [{**row, "label": True} for row in labels])
    said = lambda role, words: [{"role": role, "content": words}]  # noqa: E731
    turns = [
        {"prompt": said("user", row["question"]), "chosen": said("assistant", row["good"]),
         "rejected": said("assistant", row["bad"])} for row in pairs
    ]  # fmt: skip
    write(here / "turns.jsonl", turns)
    write(here / "long.jsonl", [*pairs, {"question": text(900), "good": text(8), "bad": text(4)}])
    return here


def write(path: Path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def described(place, monkeypatch, *arguments, file=PAIRS) -> dict:
    """The file's last card; paths are relative, as they are typed."""
    monkeypatch.chdir(place)
    columns = () if file in (LABELS, "wanted.jsonl", "turns.jsonl") else ("--columns", COLUMNS)
    told = bench("data", "describe", file, *columns, *arguments, "--out", "card.json")
    assert told.code == 0, told.err
    card = json.loads((place / "card.json").read_text(encoding="utf-8"))[-1]
    # In one line, however narrow the terminal is.
    assert card["command"] is None or any(line.strip() == card["command"] for line in told.out.splitlines())
    for line in card["advice"]:
        assert line in told.out
    return card


COLUMNS = "prompt=question,chosen=good,rejected=bad"


def lengths_of_a_run(place, tmp_path, *settings, suite, model, chat_template=None) -> list[tuple[int, int, int]]:
    request = RunRequest(
        losses=("dpo",), suite=suite, model=str(place / model), data=(place / PAIRS,), results=tmp_path, workers=1,
        judges=("fitted",) if suite == "chat" else (), chat_template=chat_template,
        settings=(f"data.columns={COLUMNS}", "prompts=4", *settings),
    )  # fmt: skip
    workspace = make_plan(request).workspace
    rows = [*workspace.data.rows, *(row for each in workspace.held_out.values() for row in each.rows)]
    return sorted((len(row.prompt_ids), len(row.chosen_ids), len(row.rejected_ids)) for row in pairs_in(rows))


@pytest.mark.parametrize(
    ("suite", "model", "more", "rule"),
    [
        ("chat", "chat", (), "as turns, by the chat template of chat; at most 512 tokens a row (suite chat)"),
        ("chat", "base", (), "as plain text with BOS and EOS, by the tokenizer of base; at most 512 tokens"),
        ("chat", "chat", ("--set", "form=text"), "as plain text with BOS and EOS, by the tokenizer of chat (data.form"),
        ("sentiment", "chat", (), "by the tokenizer of chat (suite sentiment has no turns); at most 128 tokens a row"),
        ("chat", "base", ("--chat-template", "zephyr"), "as turns, by the template zephyr for base; at most 512"),
        ("chat", "gguf.gguf", (), "as turns, by the chat template of gguf.gguf; at most 512 tokens a row"),
    ],
)
def test_tokens_are_those_that_the_run_trains_on(place, tmp_path, monkeypatch, suite, model, more, rule):
    card = described(place, monkeypatch, "--model", model, "--suite", suite, *more)
    assert rule in card["token_rule"]
    settings = ("data.form=text",) if "form=text" in more else ()
    template = more[1] if "--chat-template" in more else None
    rows = lengths_of_a_run(place, tmp_path, *settings, suite=suite, model=model, chat_template=template)
    assert len(rows) == card["rows"] == 20
    for index, field in enumerate(("prompt", "chosen", "rejected")):
        spread = card["lengths"]["tokens"][field]
        assert spread["mean"] == pytest.approx(sum(row[index] for row in rows) / len(rows))
        ends = (min(row[index] for row in rows), max(row[index] for row in rows))
        assert (spread["percentiles"][0], spread["percentiles"][-1]) == ends


def test_a_gguf_file_is_read_by_the_same_function_and_nothing_of_it_is_written(place, tmp_path):
    start = start_tokenizer(str(place / "gguf.gguf"), results=tmp_path)
    assert not list(tmp_path.iterdir())
    folder = find_source(str(place / "gguf.gguf"), results=tmp_path).folder
    converted = start_tokenizer(str(folder), results=tmp_path)
    assert (start.context, start.has_template) == (converted.context, converted.has_template) == (1024, True)
    dialogue = [{"role": "user", "content": "how many birds were in that tree"}]
    for text in ("the cat sat", "Zwölf Boxkämpfer 12", ""):
        assert start.tokenizer(text)["input_ids"] == converted.tokenizer(text)["input_ids"]
    ids = [each.tokenizer.apply_chat_template(dialogue, return_dict=False) for each in (start, converted)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("file", "model", "more", "words"),
    [
        (PAIRS, "chat", (), ["--loss", "dpo,ipo,simpo", "--columns", COLUMNS]),
        (LABELS, "base", (), ["--loss", "kto,bco"]),
        ("faulty.jsonl", "chat", (), ["--set", "data.drop_faulty=true"]),
        ("turns.jsonl", "base", ("--chat-template", "chatml"), ["--chat-template", "chatml"]),
        ("long.jsonl", "chat", (), ["--set", "data.max_prompt_tokens=511"]),
        (PAIRS, "short", (), ["--set", "train.max_length=128", "--judge", "fitted"]),
        (PAIRS, "chat", ("--max-length", 96), ["--set", "train.max_length=96"]),
        (PAIRS, "chat", ("--suite", "sentiment"), ["--suite", "sentiment"]),
        (PAIRS, "gguf.gguf", ("--set", "duplicates=drop"), ["--set", "data.duplicates=drop"]),
    ],
)
def test_the_command_at_the_end_works_as_it_stands(place, tmp_path, monkeypatch, file, model, more, words):
    card = described(place, monkeypatch, "--model", model, *more, file=file)
    typed = shlex.split(card["command"])
    assert typed[:2] == ["bench", "run"]
    assert any(typed[at : at + len(words)] == words for at in range(len(typed))) or set(words) <= set(typed)
    told = bench(*typed[1:], *SHORT, "--out", tmp_path, "--dry-run")
    assert told.code == 0, told.err


@pytest.mark.slow
@pytest.mark.parametrize(("file", "model"), [(PAIRS, "chat"), (LABELS, "base")])
def test_the_command_at_the_end_trains(place, tmp_path, monkeypatch, file, model):
    card = described(place, monkeypatch, "--model", model, file=file)
    told = bench(*shlex.split(card["command"])[1:], *SHORT, "--tracker", "none", "--out", tmp_path)
    assert told.code == 0, told.err
    assert "bench export best" in told.out


@pytest.mark.parametrize(
    ("file", "model", "more", "advice"),
    [
        ("turns.jsonl", "base", (), "→ --chat-template chatml; or use the tokenizer of a chat model"),
        ("wanted.jsonl", "chat", (), "all rows are wanted answers: there is no preference to learn"),
    ],
)
def test_what_a_run_refuses_is_said_and_no_command_is_promised(place, tmp_path, monkeypatch, file, model, more, advice):
    card = described(place, monkeypatch, "--model", model, *more, file=file)
    assert card["command"] is None
    assert any(advice in line for line in card["advice"])
    loss = "kto" if file == "wanted.jsonl" else "dpo"
    command = ("run", "--suite", "chat", "--model", model, "--data", file, "--judge", "fitted", "--loss", loss)
    told = bench(*command, *SHORT, "--out", tmp_path, "--dry-run")
    assert told.code == 2, told.out


def test_without_a_model_the_card_names_the_next_description(place, monkeypatch):
    card = described(place, monkeypatch, file="faulty.jsonl")
    assert card["token_rule"] is None
    assert shlex.split(card["command"]) == [
        *("bench", "data", "describe", "faulty.jsonl", "--columns", COLUMNS, "--set", "drop_faulty=true"),
        *("--model", "FOLDER"),
    ]
    assert card["advice"][0].startswith("1 faulty row: repair it, or leave it out")


def test_limits_in_tokens_leave_out_what_they_leave_out_of_a_run(place, monkeypatch):
    whole = described(place, monkeypatch, "--model", "chat")
    most = whole["lengths"]["tokens"]["prompt"]["percentiles"][3]
    card = described(place, monkeypatch, "--model", "chat", "--set", f"max_prompt_tokens={most:g}")
    assert 0 < card["dropped"]["too many tokens"] == 20 - card["rows"] < 20
    assert card["lengths"]["tokens"]["prompt"]["percentiles"][-1] <= most


def test_answers_that_are_one_once_cut_are_refused_as_in_a_run(place, tmp_path, monkeypatch):
    same = " ".join(["birds"] * 60)
    rows = [{"question": f"how many {n}", "good": f"{same} cat", "bad": f"{same} mat"} for n in range(20)]
    write(place / "alike.jsonl", rows)
    card = described(place, monkeypatch, "--model", "chat", "--max-length", 64, file="alike.jsonl")
    assert card["cut"] == 20
    assert "it is equal to 'chosen'" in card["advice"][0]
    assert card["command"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "chat"), "--suite chat is about tokens"),
        (("--chat-template", "chatml"), "--chat-template chatml is about tokens"),
        (("--set", "max_tokens=9"), "--set max_tokens 9 is about tokens"),
        (("--model", "chat", "--suite", "exact"), "suite exact makes model and data from its problem"),
        (("--model", "short", "--max-length", "300"), "more than the 128 tokens of context that short has"),
        (("--model", "nowhere"), "no such folder"),
    ],
)
def test_options_that_say_nothing_are_refused(place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    told = bench("data", "describe", PAIRS, "--columns", COLUMNS, *arguments)
    assert told.code == 2
    assert message in told.err


def test_options_are_typed_as_they_are_read(tmp_path):
    from bench.cli.data import read_options
    from bench.cli.data_next import data_words

    options = DataOptions(
        format="scored", columns={"prompt": "a question"}, score="true", pairs="all", min_margin=0.5, drop_ties=True,
        test=tmp_path / "a b.jsonl",
    )  # fmt: skip
    words = shlex.split(shlex.join(data_words(options, prefix="")))
    texts = dict(zip(words[::2], words[1::2], strict=True))
    settings = [value for name, value in zip(words[::2], words[1::2], strict=True) if name == "--set"]
    assert read_options(texts["--data-format"], texts["--columns"], settings) == options


def test_answers_of_no_rows_are_none():
    from bench.suites.chat.held_out import answer_texts

    assert answer_texts([], make_tokenizer()) == []


def test_labelled_answers_have_validation_and_test_prompts_in_the_chat_suite(place, tmp_path):
    request = RunRequest(
        losses=("kto",), suite="chat", model=str(place / "base"), data=(place / LABELS,), results=tmp_path, workers=1,
        judges=("fitted",), settings=("prompts=2",),
    )  # fmt: skip
    workspace = make_plan(request).workspace
    assert len(singles_in(workspace.data.rows)) == 32
    assert {split: len(prompts) for split, prompts in workspace.prompts.items()} == {"validation": 2, "test": 2}

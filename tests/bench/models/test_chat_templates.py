"""Chat templates: what each named one writes, token by token, and that a model with one is a folder like any other."""

import json
import os
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from bench.core.artifacts import verify_folder
from bench.core.specs import Execution
from bench.data.template import answer_ids, ended, ends_of, prompt_messages_ids
from bench.data.template_habits import default_system, habits
from bench.errors import UsageError
from bench.models.chat_templates.apply import NAMES
from bench.models.loading import load_tokenizer, model_hash
from bench.models.sources import base_of, resolve_model
from bench.runner.prepare import open_workspace
from bench.suites.inputs import UserInputs
from bench.suites.settings import get_suite
from tests.bench.evaluate.tasks.documents import STORIES
from tests.bench.models.golden_templates import ANSWER, PROMPT

GOLDEN = json.loads(Path(__file__).with_name("golden_templates.json").read_text(encoding="utf-8"))
TEXTS = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho has 2 cats?<|im_end|>\n"
    "<|im_start|>assistant\nTom.<|im_end|>E\n<|im_start|>user\nAnd who has 10?<|im_end|>\n<|im_start|>assistant\n"
    "Lily has  10 cats.<|im_end|>E\n",
    "llama-3": "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWho has 2 cats?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nTom.<|eot_id|>E"
    "<|start_header_id|>user<|end_header_id|>\n\nAnd who has 10?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nLily has  10 cats.<|eot_id|>E",
    "zephyr": "<|system|>\nBe brief.E\n<|user|>\nWho has 2 cats?E\n<|assistant|>\nTom.E\n<|user|>\nAnd who has 10?E\n"
    "<|assistant|>\nLily has  10 cats.E\n",
    "alpaca": "Be brief.\n\n### Instruction:\nWho has 2 cats?\n\n### Response:\nTom.E\n\n"
    "### Instruction:\nAnd who has 10?\n\n### Response:\nLily has  10 cats.E\n\n",
    "plain": "Be brief.\n\nHuman: Who has 2 cats?\n\nAssistant: Tom.E\n\nHuman: And who has 10?\n\n"
    "Assistant: Lily has  10 cats.E",
}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    folder = Path(os.environ.get("LOSSBENCH_SMOLLM2", "nowhere"))
    if not folder.is_dir():
        pytest.skip("LOSSBENCH_SMOLLM2 names no folder with SmolLM2-135M-Instruct as GGUF")
    results = tmp_path_factory.mktemp("smollm2")
    return resolve_model(str(folder), results=results), results


def spelled(name, *, folder=STORIES, results):
    return load_tokenizer(resolve_model(str(folder), results=results, chat_template=name))


def holds(tokenizer, golden):
    """The prompt's ids, the answer's after them, and EOS as the end of what is trained on."""
    prompt = prompt_messages_ids(PROMPT, tokenizer, where="here")
    answer = answer_ids(PROMPT, ANSWER, prompt, tokenizer, where="here")
    assert list(prompt) == golden["prompt"]
    assert [*prompt, *answer] == golden["dialogue"]
    answer = ended(answer, tokenizer, ends=ends_of(tokenizer), templated=True, where="here")
    assert answer[-1] in ends_of(tokenizer)


@pytest.mark.parametrize("name", NAMES)
def test_a_named_template_writes_these_tokens(name, tmp_path):
    holds(spelled(name, results=tmp_path), GOLDEN["stories260K"][name])


@pytest.mark.parametrize("name", NAMES)
def test_a_named_template_writes_this_text(name, tmp_path):
    tokenizer = spelled(name, results=tmp_path)
    text = tokenizer.apply_chat_template([*PROMPT, *ANSWER], tokenize=False)
    assert text == tokenizer.bos_token + TEXTS[name].replace("E\n", f"{tokenizer.eos_token}\n").replace(
        ">E", f">{tokenizer.eos_token}"
    ).replace(".E", f".{tokenizer.eos_token}")


@pytest.mark.parametrize("name", ["chatml", "zephyr", "alpaca", "plain", "own"])
def test_a_template_writes_these_tokens_of_smollm2(name, smollm2):
    folder, results = smollm2
    holds(spelled(name, folder=folder, results=results), GOLDEN["SmolLM2"][name])


def test_two_line_ends_that_this_tokenizer_parts_before_an_answer_are_refused(smollm2):
    folder, results = smollm2
    with pytest.raises(UsageError, match="not the beginning of its dialogue"):
        spelled("llama-3", folder=folder, results=results)


def test_the_template_of_smollm2_brings_a_system_prompt(smollm2):
    tokenizer = load_tokenizer(smollm2[0])
    assert default_system(tokenizer) == SMOLLM2_SYSTEM
    assert len(habits(tokenizer)) == 1


SMOLLM2_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def test_the_template_of_smollm2_on_a_small_tokenizer_with_its_markers(tmp_path):
    """``smollm2.jinja`` is the template of HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0), as its GGUF has it."""
    tokenizer = load_tokenizer(STORIES)
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"})
    tokenizer.chat_template = (Path(__file__).with_name("smollm2.jinja")).read_text(encoding="utf-8")
    alone = [{"role": "user", "content": "Who has 10? "}]
    prompt = prompt_messages_ids(alone, tokenizer, where="here")
    whole = answer_ids(alone, ANSWER, prompt, tokenizer, where="here")
    answer = ended(whole, tokenizer, ends=ends_of(tokenizer), templated=True, where="here")
    assert tokenizer.decode(list(prompt)).replace("<|im_start|> ", "<|im_start|>") == (
        f"<|im_start|>system\n{SMOLLM2_SYSTEM}<|im_end|> \n<|im_start|>user\nWho has 10? <|im_end|> \n"
        "<|im_start|>assistant\n"
    )
    assert (prompt[0], answer[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert answer.count(tokenizer.eos_token_id) == 1
    assert default_system(tokenizer) == SMOLLM2_SYSTEM
    (note,) = habits(tokenizer)
    assert "system prompt" in note


@pytest.mark.parametrize("name", NAMES)
def test_named_templates_bring_no_system_prompt_cut_white_space_and_end_in_eos(name, tmp_path):
    (note,) = habits(spelled(name, results=tmp_path))
    assert "white space around the messages of the user and the assistant" in note


def test_a_template_without_eos_is_reported(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}\n{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
                    "{% if add_generation_prompt %}\nassistant:{% endif %}")  # fmt: skip
    (note,) = habits(spelled(str(file), results=tmp_path))
    assert "without EOS" in note


def test_the_folder_has_the_same_weights_and_another_content(tmp_path):
    folder = resolve_model(str(STORIES), results=tmp_path, chat_template="chatml")
    assert (folder / "model.safetensors").samefile(STORIES / "model.safetensors") or (
        (folder / "model.safetensors").read_bytes() == (STORIES / "model.safetensors").read_bytes()
    )
    assert (folder / "tokenizer.json").read_bytes() == (STORIES / "tokenizer.json").read_bytes()
    assert model_hash(folder) != model_hash(STORIES)
    assert verify_folder(folder, stage="prepare") == []
    assert resolve_model(str(STORIES), results=tmp_path, chat_template="chatml") == folder
    assert resolve_model(str(STORIES), results=tmp_path, chat_template="own") == STORIES
    assert load_tokenizer(folder).chat_template == AutoTokenizer.from_pretrained(folder).chat_template


def test_a_template_replaces_the_one_of_the_tokenizers_settings(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(STORIES, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": "old {{ messages }}"}))
    tokenizer = spelled("plain", folder=folder, results=tmp_path)
    assert (
        tokenizer.apply_chat_template([*PROMPT, *ANSWER], return_dict=False)
        == GOLDEN["stories260K"]["plain"]["dialogue"]
    )


BROKEN = {
    "the beginning": "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}->{% endif %}",
    "refuses messages": "{% for m in messages %}{{ m.content",
    "refuses": "{{ raise_exception('never') }}",
    "nothing for an answer": "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
    "not the beginning": "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "two BOS": "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_template_that_cannot_part_question_and_answer_is_refused(message, tmp_path):
    (tmp_path / "broken.jinja").write_text(BROKEN[message])
    with pytest.raises(UsageError, match=message):
        spelled(str(tmp_path / "broken.jinja"), results=tmp_path)
    assert not list((tmp_path / "models").glob("*"))


def test_an_unknown_template_is_refused_with_the_names(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'chatml'"):
        resolve_model(str(STORIES), results=tmp_path, chat_template="chat-ml")


def test_a_run_sees_the_template_in_its_data_its_model_and_its_notes(tmp_path):
    suite, notes = get_suite("sentiment"), []
    rows = [
        {"prompt": [{"role": "user", "content": f"{i} cats?"}], "chosen": [ANSWER[0]],
         "rejected": [{"role": "assistant", "content": "No."}]}
        for i in range(20)
    ]  # fmt: skip
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = UserInputs(model=str(STORIES), data=(tmp_path / "chat.jsonl",), chat_template="plain")
    opened = open_workspace(
        suite, inputs, results=tmp_path, train=suite.train, evaluation=suite.evaluation, execution=Execution(),
        note=notes.append,
    )  # fmt: skip
    assert opened.model.parent == tmp_path / "models"
    assert opened.model_spec.content == model_hash(opened.model) != model_hash(STORIES)
    assert opened.model_spec.source == f"{STORIES}, chat template plain"
    assert base_of(opened.model_spec.source) == str(STORIES)
    texts = {opened.tokenizer.decode(list(row.prompt_ids)) for row in opened.data.pairs}
    assert texts < {f"<s> \n\nHuman: {i} cats?\n\nAssistant:" for i in range(20)}
    assert {opened.tokenizer.decode(list(row.rejected_ids)) for row in opened.data.pairs} == {"No.<s>"}
    assert any("white space" in line for line in notes)

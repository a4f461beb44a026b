"""The end of what a model writes: one set of tokens, wherever text is sampled, against ``model.generate``."""

import json

import pytest
import torch

from bench.core.samples import spoken
from bench.core.specs import EvaluationSpec
from bench.evaluate.judges.generate import answer_text
from bench.evaluate.sampling import sample
from bench.models.end_tokens import end_ids, end_ids_kept
from bench.models.loading import load_model, load_tokenizer
from tests.bench.models.chat_models import (
    CHATML,
    END,
    EOS,
    GEMMA,
    LLAMA3,
    OTHER,
    PHI3,
    PLAIN,
    WORDS,
    make_llama,
    make_tokenizer,
    save_chat_model,
)

CASES = {  # template, eos of the tokenizer, eos_token_id of the generation settings, what ends a text
    "plain": (PLAIN, "</s>", EOS, {EOS}),
    "no template": (None, "</s>", EOS, {EOS}),
    "gemma": (GEMMA, "</s>", [EOS, END], {EOS, END}),
    "llama 3": (LLAMA3, "</s>", [EOS, OTHER, END], {EOS, OTHER, END}),
    "llama 3, eos is the turn's end": (LLAMA3, "<end>", [EOS, OTHER, END], {EOS, OTHER, END}),
    "chatml, eos is the text's end": (CHATML, "</s>", [END, EOS], {EOS, END}),
    "phi 3": (PHI3, "</s>", [EOS, END], {EOS, END}),
    "settings with a tensor's worth of one": (CHATML, "<end>", [END], {END}),
}
PROMPTS = [f"{one} {two}" for one in WORDS[:4] for two in WORDS[6:11]]


def folder_of(name, tmp_path):
    template, eos, settings, ends = CASES[name]
    model, tokenizer = make_llama(likely=sorted(ends)), make_tokenizer(template=template, eos_token=eos)
    model.generation_config.eos_token_id = settings
    return save_chat_model(tmp_path / "model", model, tokenizer)


def generated(model, tokenizer, ids):
    """What transformers' own greedy generation writes, as text and as tokens."""
    with torch.no_grad():
        made = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=0)[0, len(ids) :]
    return tokenizer.decode(made, skip_special_tokens=True), tuple(made.tolist())


@pytest.mark.parametrize("name", CASES)
def test_greedy_texts_end_where_those_of_generate_do(name, tmp_path):
    folder = folder_of(name, tmp_path)
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    ends = end_ids(model, tokenizer)
    assert ends == end_ids(folder, tokenizer) == CASES[name][3]
    if tokenizer.chat_template is None:
        prompts = tokenizer(PROMPTS)["input_ids"]
        texts = [tokenizer.decode(ids) for ids in prompts]
    else:
        turns = [[{"role": "user", "content": text}] for text in PROMPTS]
        prompts = [tokenizer.apply_chat_template(t, add_generation_prompt=True, return_dict=False) for t in turns]
        texts = answer_text(
            str(folder), [[text] for text in PROMPTS], results=tmp_path, tokens=24, temperature=0.0, seed=0
        )
    made = sample(model, prompts, max_tokens=24, temperature=1e-6, seed=0, end_ids=ends)
    expected = [generated(model, tokenizer, ids) for ids in prompts]
    assert list(made.completions) == [tokens for _, tokens in expected]
    assert tokenizer.batch_decode(spoken(made), skip_special_tokens=True) == [text for text, _ in expected]
    if tokenizer.chat_template is not None:
        assert texts == [text for text, _ in expected]
    assert made.ended == tuple(tokens[-1] in ends for _, tokens in expected)
    assert {tokens[-1] for _, tokens in expected if tokens[-1] in ends} == ends  # each of them ends some text
    assert not all(made.ended)


def test_a_template_that_settings_do_not_know_ends_texts_too(tmp_path):
    """EOS and the settings name the end of a text, the template ends an answer with another token."""
    model, tokenizer = make_llama(likely=[EOS, END]), make_tokenizer(template=CHATML)
    folder = save_chat_model(tmp_path / "model", model, tokenizer)
    model.generation_config.eos_token_id = [EOS, END]
    assert end_ids(folder, tokenizer) == {EOS, END}
    texts = answer_text(str(folder), [[text] for text in PROMPTS], results=tmp_path, tokens=24, temperature=0.0, seed=0)
    turns = [[{"role": "user", "content": text}] for text in PROMPTS]
    prompts = [tokenizer.apply_chat_template(t, add_generation_prompt=True, return_dict=False) for t in turns]
    assert texts == [generated(model, tokenizer, ids)[0] for ids in prompts]


def test_an_end_token_that_is_not_special_is_in_no_text(tmp_path):
    tokenizer = make_tokenizer(template=None)
    tokenizer.add_tokens(["<stop>"])
    stop = tokenizer.convert_tokens_to_ids("<stop>")
    model = make_llama(size=stop + 1, likely=[stop])
    model.generation_config.eos_token_id = [EOS, stop]
    prompts = tokenizer(PROMPTS)["input_ids"]
    ends = end_ids(model, tokenizer)
    made = sample(model, prompts, max_tokens=24, temperature=1e-6, seed=0, end_ids=ends)
    assert any(completion[-1] == stop for completion in made.completions)
    assert not any("<stop>" in text for text in tokenizer.batch_decode(spoken(made), skip_special_tokens=True))


def test_a_folder_without_generation_settings_has_those_of_its_config(tmp_path):
    folder = folder_of("gemma", tmp_path)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    for eos, ends in ((OTHER, {EOS, END, OTHER}), ([EOS, OTHER], {EOS, END, OTHER}), (None, {EOS, END})):
        (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": eos}))
        tokenizer = load_tokenizer(folder)
        assert end_ids(folder, tokenizer) == end_ids(load_model(folder), tokenizer) == ends


def test_an_evaluation_has_another_name_only_where_eos_is_not_the_only_end(tmp_path):
    spec = EvaluationSpec(split="test", prompts=1, tokens=1, seed=0, pairs=1, beta0=0.0)
    alone = end_ids_kept(make_llama(), make_tokenizer(template=PLAIN))
    assert alone is None
    assert spec.model_copy(update={"ends": alone}).digest() == spec.digest()
    both = end_ids_kept(make_llama(), make_tokenizer(template=CHATML))
    assert both == (EOS, END)
    assert spec.model_copy(update={"ends": both}).digest() != spec.digest()
    assert "ends" not in spec.model_dump()

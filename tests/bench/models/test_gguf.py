"""GGUF files: the folder that is made of one holds its numbers, its tokens and its template, or there is none."""

import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel as Decoder
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.errors import RunError, UsageError
from bench.models.loading import load_model, load_tokenizer, model_hash
from bench.models.sources import resolve_model
from tests.bench.evaluate.tasks.documents import STORIES
from tests.bench.models.write_gguf import write_llama

gguf = pytest.importorskip("gguf")
TEXTS = ["Once upon a time, Lily's mom said: go!", "  two  spaces  12 ", "7 é ü 中", "line\n\nline\t3", "A", "a 365 b"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    """A Llama of two layers with a byte-level tokenizer that parts digits, and its GGUF file."""
    folder = tmp_path_factory.mktemp("chatty")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = Decoder()
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    text = [(STORIES / "golden.txt").read_text(encoding="utf-8"), *TEXTS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=400, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=names[1], eos_token=names[2], unk_token=names[0], pad_token=names[2],
        chat_template=TEMPLATE,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, rms_norm_eps=1e-5,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True,
        )
    )  # fmt: skip
    write_llama(folder / "chatty.gguf", model, tokenizer, kind="gpt2", pre="smollm")
    return folder / "chatty.gguf", model.eval(), tokenizer


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    file = tmp_path_factory.mktemp("stories") / "stories.gguf"
    write_llama(file, load_model(STORIES), load_tokenizer(STORIES), kind="llama")
    return file


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


def test_the_model_of_a_file_in_float32_says_what_the_original_says(stories, tmp_path):
    folder = resolve_model(str(stories), results=tmp_path)
    converted, original = load_model(folder), load_model(STORIES)
    ids = load_tokenizer(STORIES)(TEXTS[0]).input_ids
    assert torch.equal(logits(converted, ids), logits(original, ids))
    assert folder.parent == tmp_path / "models"
    assert folder.name.startswith("gguf-")


def test_a_tokenizer_of_scores_gives_the_same_ids_and_texts(stories, tmp_path):
    converted = load_tokenizer(resolve_model(str(stories), results=tmp_path))
    original = load_tokenizer(STORIES)
    for text in TEXTS[:1] + TEXTS[2:]:
        assert converted(text).input_ids == original(text).input_ids, text
        assert converted.decode(converted(text).input_ids, skip_special_tokens=True) == text


def test_a_tokenizer_of_merges_parts_digits_as_the_file_says(chatty, tmp_path):
    file, _, original = chatty
    converted = load_tokenizer(resolve_model(str(file), results=tmp_path))
    for text in [*TEXTS, "<|im_start|>user\nHi<|im_end|>\n"]:
        assert converted(text).input_ids == original(text).input_ids, text
        assert converted.decode(converted(text).input_ids) == text
    assert [converted(name).input_ids for name in ("<|im_start|>", "<|im_end|>")] == [[1], [2]]
    assert converted.eos_token_id == 2
    # Digits make a difference here: without them the two spaces before 12 would be parted.
    converted.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert converted(TEXTS[1]).input_ids != original(TEXTS[1]).input_ids


def test_a_chat_template_comes_along(chatty, tmp_path):
    file, model, original = chatty
    folder = resolve_model(str(file.parent), results=tmp_path)
    converted = load_tokenizer(folder)
    dialogue = [{"role": "user", "content": "Hi 12"}]
    assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE
    assert converted.apply_chat_template(dialogue) == original.apply_chat_template(dialogue)
    weights = load_model(folder).state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_eight_bits_become_the_numbers_that_they_stand_for(chatty, tmp_path):
    _, model, tokenizer = chatty
    file = tmp_path / "eight.gguf"
    write_llama(file, model, tokenizer, kind="gpt2", pre="smollm", eight_bits=True)
    converted = load_model(resolve_model(str(file), results=tmp_path))
    stored = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(file).tensors}
    down = torch.tensor(stored["blk.1.ffn_down.weight"])
    assert torch.equal(converted.model.layers[1].mlp.down_proj.weight, down)
    assert not torch.equal(down, model.model.layers[1].mlp.down_proj.weight)
    assert torch.allclose(down, model.model.layers[1].mlp.down_proj.weight, atol=1e-3)


def test_a_file_is_converted_once_and_always_to_the_same(chatty, tmp_path):
    file, notes = chatty[0], []
    one = resolve_model(str(file), results=tmp_path / "a", note=notes.append)
    again = resolve_model(str(file), results=tmp_path / "a", note=notes.append)
    other = resolve_model(str(file), results=tmp_path / "b")
    assert one == again
    assert len(notes) == 1
    assert model_hash(one) == model_hash(other)


def test_a_damaged_conversion_is_made_again(chatty, tmp_path):
    file, notes = chatty[0], []
    folder = resolve_model(str(file), results=tmp_path)
    before = model_hash(folder)
    (folder / "tokenizer.json").write_text("{}")
    resolve_model(str(file), results=tmp_path, note=notes.append)
    assert model_hash(folder) == before
    assert "damaged" in notes[0]


@pytest.mark.parametrize("length", [3, 5, 60, 3000, 40_000])
def test_a_truncated_file_leaves_nothing_behind(chatty, tmp_path, length):
    file = tmp_path / "cut.gguf"
    file.write_bytes(chatty[0].read_bytes()[:length])
    with pytest.raises((UsageError, RunError), match="GGUF"):
        resolve_model(str(file), results=tmp_path)
    assert not list((tmp_path / "models").glob("*") if (tmp_path / "models").exists() else [])


@pytest.mark.parametrize("pre", [None, "some-new-one"])
def test_a_tokenizer_whose_splits_are_not_known_is_refused(chatty, tmp_path, pre):
    _, model, tokenizer = chatty
    write_llama(tmp_path / "new.gguf", model, tokenizer, kind="gpt2", pre=pre)
    with pytest.raises(UsageError, match="guessed"):
        resolve_model(str(tmp_path / "new.gguf"), results=tmp_path)


def test_scaled_rotary_frequencies_are_refused(chatty, tmp_path):
    _, model, tokenizer = chatty
    factors = {"rope_freqs.weight": torch.ones(4).numpy()}
    write_llama(tmp_path / "scaled.gguf", model, tokenizer, kind="gpt2", pre="smollm", **factors)
    with pytest.raises(UsageError, match="rotary"):
        resolve_model(str(tmp_path / "scaled.gguf"), results=tmp_path)


def test_weights_without_a_place_are_refused(chatty, tmp_path):
    _, model, tokenizer = chatty
    more = {"blk.0.attn_q.bias": torch.ones(32).numpy()}
    write_llama(tmp_path / "more.gguf", model, tokenizer, kind="gpt2", pre="smollm", **more)
    with pytest.raises(RunError, match="numbers"):
        resolve_model(str(tmp_path / "more.gguf"), results=tmp_path)


def test_several_files_in_a_folder_have_to_be_chosen_from(chatty, tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(chatty[0].read_bytes())
    with pytest.raises(UsageError, match=r"2 GGUF files: a\.gguf, b\.gguf"):
        resolve_model(str(tmp_path), results=tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        resolve_model(str(tmp_path / "c.gguf"), results=tmp_path)


def test_smollm2_answers_a_question(tmp_path):
    folder = Path(os.environ.get("LOSSBENCH_SMOLLM2", "nowhere"))
    if not folder.is_dir():
        pytest.skip("LOSSBENCH_SMOLLM2 names no folder with SmolLM2-135M-Instruct as GGUF")
    folder = resolve_model(str(folder), results=tmp_path)
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer("Hello").input_ids[0] != 1
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids.input_ids.shape[1] :]
    assert tokenizer.decode(output) == "The capital of France is Paris.<|im_end|>"

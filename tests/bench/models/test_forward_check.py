"""Every way to score rows equals the model's own forward pass, one row at a time; else it is not taken, or refused."""

import copy
import json

import pytest
import torch
import transformers as tf

from bench.core.specs import LoraSpec
from bench.data.collate import collate_rows
from bench.errors import RunError, UsageError
from bench.models.adapters import check_lora
from bench.models.architecture import check_architecture
from bench.models.completion_logits import UNPACKED, completion_logits
from bench.models.forward_check import check_rows
from bench.models.loading import load_model
from bench.models.logprobs import CompletionLogProbs
from bench.models.packed.pointwise import quicken
from bench.models.thresholds import threshold_lengths
from tests.bench.conftest import tiny_model
from tests.model_classes.build import VARIANTS, build, model_types, small_config
from tests.model_classes.compare import LORA, outcome, rows_of

CHECKED = (
    "llama", "qwen2, sliding", "phi3, longrope", "gemma2", "gemma4_text", "phimoe", "modernbert-decoder", "roberta",
    "granitemoehybrid, scaled", "cohere2, window of 5", "llama4_text, chunks of 8", "gpt_oss", "recurrent_gemma",
    "deepseek_v32", "axk2", "doge", "mamba", "bloom", "prophetnet", "falcon_h1",
)  # fmt: skip
"""One of each kind: packed, windows in the mask alone, heads with more than a matrix, positions by the longest row."""
WRONG = 1e-4


@pytest.mark.parametrize("name", CHECKED)
def test_a_class_is_scored_as_by_its_own_forward_pass(name):
    one = outcome(name)
    assert one.way not in ("refused", "not built"), one.reason
    assert one.logps < WRONG
    assert one.gradients < WRONG


@pytest.mark.parametrize("name", ["llama", "phimoe", "granitemoehybrid", "deepseek_v4", "gemma2"])
def test_adapters_change_nothing_of_that(name):
    one = outcome(name, lora=True)
    assert one.way not in ("refused", "not built"), one.reason
    assert max(one.logps, one.gradients) < WRONG


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"packed": False}, {"lora": True}], ids=["packed", "padded", "lora"])
@pytest.mark.parametrize("name", [*model_types(), *VARIANTS])
def test_every_class_is_right_or_refused(name, settings):
    one = outcome(name, **settings)
    if one.logps is not None:
        assert max(one.logps, one.gradients) < WRONG


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("llama", "packed"),
        ("mamba", "padded"),
        ("modernbert-decoder", "padded, own head"),
        ("phi3, longrope", "equal lengths"),
    ],
)
def test_the_fastest_right_way_is_taken_and_the_reasons_name_the_others(name, way):
    scored = CompletionLogProbs(build(name), packed=True, longest=60)
    assert scored.way == way
    assert len(scored.reasons) == ("packed", *UNPACKED).index(way)
    assert scored.layout.startswith(way)


@pytest.mark.parametrize("way", UNPACKED)
def test_all_ways_agree_on_a_plain_model(way):
    model = tiny_model()
    rows = collate_rows([((3, 4), (5, 6, 7)), ((8,), (9,)), ((3, 4), (10,)), ((5, 6, 7, 8), (9, 10))], 1)
    expected = completion_logits(model, rows, way="single rows")
    assert torch.allclose(completion_logits(model, rows, way=way), expected, atol=1e-5)


def test_a_threshold_counts_only_where_a_row_can_meet_it():
    model = build("phimoe")  # its window of 12 tokens is in the mask alone
    assert CompletionLogProbs(copy.deepcopy(model), packed=True, longest=11).way == "packed"
    assert CompletionLogProbs(copy.deepcopy(model), packed=True, longest=20).way == "padded"


@pytest.mark.parametrize(
    ("config", "lengths"),
    [
        (tf.LlamaConfig(), []),
        (tf.MistralConfig(sliding_window=4096), [4096]),
        (tf.Gemma3Config(text_config={"sliding_window": 512}), [512]),
        (tf.Mamba2Config(chunk_size=64), [64]),
    ],
    ids=["llama", "mistral", "gemma3, nested", "mamba2"],
)
def test_lengths_of_a_configuration(config, lengths):
    assert set(lengths) <= set(threshold_lengths(config))
    assert not lengths or max(threshold_lengths(config)) == max(lengths)


def test_rows_meet_thresholds_prompts_are_shared_and_special_tokens_left_out():
    model = build("gemma3_text")
    rows = check_rows(model, longest=60)
    lengths = [len(prompt) + len(completion) for prompt, completion in rows]
    assert min(lengths) <= 3
    assert max(lengths) > 2 * max(n for n in threshold_lengths(model.config) if n < 60)
    prompts = [prompt for prompt, _ in rows]
    assert len(set(prompts)) < len(prompts)
    ids = {token for row in rows for part in row for token in part} - {model.config.eos_token_id}
    assert not ids & {model.config.bos_token_id, model.config.pad_token_id}


def test_a_model_that_looks_ahead_is_refused():
    model = tf.BertLMHeadModel(small_config("bert", is_decoder=False))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    with pytest.raises(RunError, match=r"depends on the tokens after it(.|\n)*is_decoder"):
        CompletionLogProbs(model.eval(), packed=True)


def test_a_model_with_random_numbers_in_eval_mode_is_refused():
    model = tiny_model()
    own = model.lm_head.forward
    model.lm_head.forward = lambda x: own(x + torch.randn_like(x))
    model.__class__ = type("Noisy", (type(model),), {})
    with pytest.raises(RunError, match="other log-probs at a second call"):
        CompletionLogProbs(model)


def test_weights_that_are_no_numbers_are_refused():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[3, 3] = torch.nan
    with pytest.raises(RunError, match="not finite"):
        CompletionLogProbs(model)


def test_a_gated_norm_is_not_taken_for_a_plain_one():
    model = build("granitemoehybrid")
    ids = torch.tensor([rows_of(seed=1)[1][0]])
    before = model(input_ids=ids, use_cache=False).logits
    assert quicken(model) > 0
    assert torch.allclose(model(input_ids=ids, use_cache=False).logits, before, atol=1e-5)


def saved(model, folder, **config):
    model.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def test_kinds_of_models_that_cannot_be_trained_are_named(tmp_path):
    t5 = tf.T5ForConditionalGeneration(
        tf.T5Config(vocab_size=40, d_model=16, d_ff=16, d_kv=4, num_layers=1, num_heads=2)
    )
    with pytest.raises(UsageError, match="T5ForConditionalGeneration, an encoder-decoder"):
        load_model(saved(t5, tmp_path / "t5"))
    clip = saved(tiny_model(), tmp_path / "clip", model_type="clip", architectures=["CLIPModel"])
    with pytest.raises(UsageError, match="CLIPModel, for which transformers has no causal language model"):
        check_architecture(clip)
    unknown = saved(tiny_model(), tmp_path / "unknown", model_type="never-heard-of")
    with pytest.raises(UsageError, match=r"cannot read config.json(.|\n)*update transformers"):
        check_architecture(unknown)
    quantised = {"quant_method": "gptq", "bits": 4}
    with pytest.raises(UsageError, match=r"quantised \(gptq\)"):
        load_model(saved(tiny_model(), tmp_path / "gptq", quantization_config=quantised))


def test_weights_of_the_file_that_no_layer_takes_are_refused(tmp_path):
    folder = saved(tiny_model(), tmp_path, num_hidden_layers=1)
    with pytest.raises(RunError, match=r"9 weights of the file are not used, the first is model.layers.1"):
        load_model(folder)
    saved(tiny_model(), tmp_path, vocab_size=30)
    with pytest.raises(RunError, match=r"another shape than config.json says(.|\n)*in the file, \[30, "):
        load_model(folder)
    saved(tiny_model(), tmp_path, num_hidden_layers=3)
    with pytest.raises(RunError, match=r"9 weights are missing from the file, the first is model.layers.2"):
        load_model(folder)


def test_an_adapter_that_does_not_fit_is_refused_by_the_configuration_alone(tmp_path):
    saved(build("mamba"), tmp_path / "mamba")
    (tmp_path / "mamba" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"LoRA does not fit MambaForCausalLM(.|\n)*train.lora=false"):
        check_lora(tmp_path / "mamba", LORA)
    check_lora(tmp_path / "mamba", None)
    saved(build("phimoe"), tmp_path / "phimoe")
    check_lora(tmp_path / "phimoe", LoraSpec(rank=2))

"""Transformers' own model code runs packed: the log-probs and gradients are those of the padded path."""

import copy

import pytest
import torch
import transformers as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.models.logprobs import CompletionLogProbs
from bench.models.packed.kernels import kernels
from bench.models.packed.layout import pack
from bench.models.packed.pointwise import quicken
from tests.bench.conftest import tiny_model

SMALL = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
GPT = {
    "vocab_size": 40,
    "n_positions": 64,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
PACKABLE = {
    "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL)),
    "llama, grouped keys, tied": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**GROUPED, tie_word_embeddings=True)),
    "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**GROUPED, sliding_window=None)),
    "mistral, window of 4": lambda: tf.MistralForCausalLM(tf.MistralConfig(**GROUPED, sliding_window=4)),
    "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**GROUPED)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**GROUPED, head_dim=16)),
    "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**GROUPED, head_dim=8)),
    "gemma3, window of 4": lambda: tf.Gemma3ForCausalLM(
        tf.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=4, sliding_window_pattern=2)
    ),
    "olmo2": lambda: tf.Olmo2ForCausalLM(tf.Olmo2Config(**GROUPED)),
    "granite, scaled logits": lambda: tf.GraniteForCausalLM(tf.GraniteConfig(**GROUPED, logits_scaling=3.0)),
    "cohere, scaled logits": lambda: tf.CohereForCausalLM(tf.CohereConfig(**GROUPED, logit_scale=0.25)),
    "phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**GROUPED)),
    "gpt2": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(**GPT)),
    "gpt_neox": lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**SMALL)),
    "opt": lambda: tf.OPTForCausalLM(tf.OPTConfig(**{**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32})),
}
REFUSED = {
    "gemma2": (lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**GROUPED, head_dim=8)), "its logits are more than"),
    "bloom": (
        lambda: tf.BloomForCausalLM(tf.BloomConfig(vocab_size=40, hidden_size=32, n_layer=2, n_head=4)),
        "attention",
    ),
    "stablelm": (lambda: tf.StableLmForCausalLM(tf.StableLmConfig(**GROUPED)), "attention"),
    "mamba": (
        lambda: tf.MambaForCausalLM(tf.MambaConfig(vocab_size=40, hidden_size=32, num_hidden_layers=2, state_size=4)),
        "attention",
    ),
}  # fmt: skip
ROWS = [
    ((0, 5, 7), (9, 3, 2, 0)),
    ((0, 6), (4,)),
    ((0, 5, 7), (8,)),
    ((0, 11, 12, 13, 14, 15, 16), (21, 22, 23, 24, 25, 26, 27, 28, 0)),
    ((0, 6), (31, 32, 33, 34, 35, 36, 0)),
    ((0, 5, 7), (9, 3, 30, 0)),
]


def made(build, seed=0):
    torch.manual_seed(seed)
    model = build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


def both(model, rows, precision=torch.float32):
    """Log-probs of all completion tokens, rows in order, and all gradients of a curved function of them, either way."""
    results = []
    for packed in (False, True):
        scored = CompletionLogProbs(copy.deepcopy(model), packed=packed)
        assert scored.packed is packed, scored.layout
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            scores = scored(scored.lay(rows, pad_id=1))
        logps = scores.logps[scores.mask]
        (logps * torch.linspace(0.5, 1.5, len(logps))).exp().sum().backward()
        gradients = {name: p.grad for name, p in scored.named_parameters() if p.grad is not None}
        results.append((logps.detach(), gradients))
    return results


@pytest.mark.parametrize("name", PACKABLE)
def test_log_probs_and_gradients_are_those_of_padded_rows(name):
    model = made(PACKABLE[name])
    (expected, padded), (logps, gradients) = both(model, ROWS)
    assert torch.allclose(logps, expected, rtol=1e-5, atol=2e-5)
    assert gradients.keys() == padded.keys()
    (_, exact), _ = both(copy.deepcopy(model).double(), ROWS)
    largest = max(float(slope.norm()) for slope in exact.values())
    for parameter, slope in exact.items():
        # Some of these small models are so steep that float32 itself is 1e-5 off: nobody can be nearer than that.
        own = float((padded[parameter] - slope).norm())
        allowed = max(1e-5 * max(float(slope.norm()), 0.01 * largest), 2 * own)
        assert float((gradients[parameter] - slope).norm()) < allowed, parameter


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_packed_says_why_and_takes_padded_rows(name):
    build, reason = REFUSED[name]
    scored = CompletionLogProbs(made(build), packed=True)
    assert not scored.packed
    assert reason in scored.layout
    assert scored(scored.lay(ROWS, pad_id=1)).logps.isfinite().all()


def test_a_model_that_mixes_tokens_outside_attention_is_detected():
    class Leaky(tf.LlamaForCausalLM):
        pass

    model = made(lambda: Leaky(tf.LlamaConfig(**SMALL)))
    own = model.model.norm.forward
    model.model.norm.forward = lambda x: own(x.cumsum(dim=1) / 10)
    scored = CompletionLogProbs(model, packed=True)
    assert not scored.packed
    assert "differ by" in scored.layout


def test_after_a_packed_pass_the_model_attends_as_before():
    model = tiny_model()
    ids = torch.tensor([[0, 5, 6, 7]])
    before, kind = model(input_ids=ids).logits, model.config._attn_implementation
    scored = CompletionLogProbs(model, packed=True)
    scored(scored.lay(ROWS, pad_id=1))
    assert model.config._attn_implementation == kind
    assert torch.allclose(model(input_ids=ids).logits, before, atol=1e-6)


def test_the_mlp_of_the_last_layer_works_on_read_tokens_and_is_put_back():
    model = tiny_model()
    seen = []
    for layer in model.model.layers:
        layer.mlp.gate_proj.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[1]))
    own = model.model.layers[-1].mlp.forward = model.model.layers[-1].mlp.forward  # as hooks of other libraries put it
    layout = pack(ROWS)
    scored = CompletionLogProbs(model, packed=True)
    seen.clear()
    scored(layout)
    assert seen == [layout.ids.shape[1], len(layout.read)]
    assert len(layout.read) == len(set(layout.sources.tolist())) < len(layout.sources)
    assert model.model.layers[-1].mlp.forward is own
    assert "forward" not in vars(model.model.layers[0].mlp)


def test_quick_forms_keep_weights_names_and_what_is_saved(tmp_path):
    model = tiny_model()
    names = list(model.state_dict())
    assert quicken(model) == (5 if kernels() is None else 7)  # norms, and the MLPs of two layers
    assert quicken(model) == 0
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    again = tf.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again.model.norm).__mro__[1] is not type(model.model.norm).__mro__[1]
    ids = torch.tensor([[0, 5, 6, 7]])
    assert torch.allclose(again(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-6)


ids_of = st.lists(st.integers(2, 39), min_size=1, max_size=9).map(tuple)


@settings(max_examples=40, deadline=None)
@given(
    prompts=st.lists(ids_of, min_size=1, max_size=3, unique=True),
    drawn=st.lists(st.tuples(st.integers(0, 2), ids_of), min_size=1, max_size=7),
)
@example(prompts=[(2,), (3,)], drawn=[(0, (5,)), (0, (6,)), (1, (7, 8))])
def test_any_rows_pack_to_their_padded_log_probs(prompts, drawn):
    rows = [(prompts[which % len(prompts)], completion) for which, completion in drawn]
    model = tiny_model()
    plain, quick = CompletionLogProbs(model), CompletionLogProbs(copy.deepcopy(model), packed=True)
    expected, scores = plain(plain.lay(rows, pad_id=1)), quick(quick.lay(rows, pad_id=1))
    assert torch.allclose(scores.logps[scores.mask], expected.logps[expected.mask], atol=2e-6)
    expected.logps.sum().backward()
    scores.logps.sum().backward()
    for one, other in zip(plain.parameters(), quick.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-5)
    layout = pack(rows)
    assert layout.seen == sum(len(prompt) + len(completion) for prompt, completion in rows)
    tokens = sum(len(prompt) for prompt in {row[0] for row in rows}) + sum(len(row[1]) - 1 for row in rows)
    assert layout.ids.shape == (1, tokens)

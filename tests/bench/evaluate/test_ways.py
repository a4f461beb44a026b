"""Decoding and scoring of many architectures against their own forward pass: one row, no padding, no cache."""

import copy

import pytest
import torch
import transformers as t

from bench.core.samples import Samples
from bench.errors import RunError
from bench.evaluate.hidden_states import final_states, head_of
from bench.evaluate.metrics.kl import sequence_kl
from bench.evaluate.sampling import sample, sample_with_states
from bench.evaluate.tasks.loglikelihood import loglikelihoods
from bench.evaluate.ways import FASTEST, decoding_way, scoring_together
from bench.models.plain_head import is_plain
from tests.bench.evaluate.architectures import ARCHITECTURES, SIZE, WINDOW, make

TOKENS = 8
PROMPTS = [
    [5 + (7 * row + 3 * place) % (SIZE - 6) for place in range(length)] for row, length in enumerate((2, 9, 15, 24))
]
LONGEST = 24 + TOKENS
SLOWER = {  # and what is wrong with the fastest way of each
    "phi 3, long positions": "prompts of one length, without a cache",  # a row's length changes all of its positions
    "gpt neo": "padded prompts, with a cache",  # its local layers count places of the cache, empty ones too
    "bloom": "prompts of one length, with a cache",  # these take no positions
    "mpt": "prompts of one length, with a cache",
    "falcon": "prompts of one length, with a cache",
    "llama 4": "prompts of one length, with a cache",  # chunks are counted from the padding on
    "xlm roberta": "prompts of one length, with a cache",
    "rwkv": "prompts of one length, without a cache",  # its cache is none of transformers'
    "minimax": "prompts of one length, without a cache",
    **dict.fromkeys(
        ("granite moe hybrid", "falcon h1", "recurrent gemma", "mamba", "mamba 2", "jamba", "lfm 2", "qwen 3 next"),
        "prompts of one length, with a cache",  # padding would enter their states
    ),
}
NOT_PLAIN = {  # soft caps, factors, dense layers before the output embedding
    *("gemma 2", "gemma 4", "cohere 2", "granite", "granite moe hybrid", "modern bert decoder", "falcon h1"),
    *("recurrent gemma", "bert decoder", "xlm roberta"),
    "llama 4",  # its backbone has another name than the model says
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_token_inverts_the_cdf_of_the_models_own_forward_pass(name):
    model = make(name)
    samples = sample(model, PROMPTS, max_tokens=TOKENS, temperature=0.7, seed=4, end_ids=frozenset({0}))
    uniform = torch.rand((len(PROMPTS), TOKENS), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for row, (prompt, completion) in enumerate(zip(samples.prompts, samples.completions, strict=True)):
        for step, token in enumerate(completion):
            with torch.no_grad():
                logits = model(torch.tensor([list(prompt + completion[:step])]), use_cache=False).logits[0, -1].double()
            cdf = (logits / 0.7).softmax(-1).cumsum(-1)
            assert token == int((cdf <= uniform[row, step]).sum()), (row, step)
    way = decoding_way(model, longest=LONGEST)
    assert str(way) == SLOWER.get(name, str(FASTEST))
    assert is_plain(model) == (name not in NOT_PLAIN)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_kl_and_logits_of_whole_rows_are_those_of_the_models_own_forward_pass(name):
    policy, reference = make(name), make(name, seed=1)
    completions = tuple(
        tuple((11 * token + row) % SIZE for token in range(TOKENS - row)) for row in range(len(PROMPTS))
    )
    samples = Samples(prompts=tuple(map(tuple, PROMPTS)), completions=completions, ended=(False,) * len(PROMPTS))
    measured = sequence_kl(policy, reference, samples, batch=64)
    for row, (prompt, completion) in enumerate(zip(samples.prompts, completions, strict=True)):
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            p, q = (
                m(ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
                for m in (policy, reference)
            )
        assert float(measured[row]) == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-4, abs=1e-4)
    assert scoring_together(policy, longest=LONGEST) == ("alike" if "positions" in name else "padded")


def test_states_of_a_model_whose_positions_hang_on_the_length_are_not_kept():
    _, states = sample_with_states(
        make("phi 3, long positions"), PROMPTS, max_tokens=TOKENS, temperature=1.0, seed=0, end_ids=frozenset({0})
    )
    assert states is None
    _, states = sample_with_states(
        make("phi 3, long positions"), PROMPTS[:2], max_tokens=4, temperature=1.0, seed=0, end_ids=frozenset({0})
    )
    assert states is not None  # rows that never reach the length are like any others


def test_thresholds_that_no_row_reaches_cost_nothing():
    model = make("llama 4")
    assert decoding_way(model, longest=WINDOW) == FASTEST
    assert decoding_way(model, longest=WINDOW + 1) != FASTEST


class Capped(t.LlamaForCausalLM):
    """A cap of another name, so wide that a model before its training never meets it."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 500 * torch.tanh(output.logits / 500)
        return output


def small(kind=t.LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    config = t.LlamaConfig(
        **{"vocab_size": SIZE, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
           "num_attention_heads": 2, "max_position_embeddings": 96} | changes
    )  # fmt: skip
    return kind(config).eval()


def test_a_cap_that_small_logits_do_not_meet_is_noticed():
    model = small(Capped)
    assert not is_plain(model)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        model.lm_head.weight.mul_(3e4)  # as a training might
        assert torch.equal(head_of(model)(final_states(model, ids, None)), model(ids).logits)
        assert float(model(ids).logits.abs().max()) <= 500


class Cumulative(t.LlamaForCausalLM):
    """One that looks ahead: its logits hang on the mean of the whole row."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + output.logits.mean(dim=1, keepdim=True)
        return output


class Restless(t.LlamaForCausalLM):
    """One that gives other logits each time."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + torch.randn_like(output.logits)
        return output


@pytest.mark.parametrize(("kind", "words"), [(Cumulative, "tokens that come later"), (Restless, "no way|come later")])
def test_what_no_way_equals_is_refused(kind, words):
    with pytest.raises(RunError, match=words):
        sample(small(kind), PROMPTS, max_tokens=3, temperature=1.0, seed=0, end_ids=frozenset({0}))


def test_a_bert_that_is_no_decoder_is_refused():
    config = t.BertConfig(
        vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=128,
    )  # fmt: skip
    with pytest.raises(RunError, match="tokens that come later"):
        decoding_way(t.BertLMHeadModel(config).eval(), longest=20)


def test_an_architecture_is_compared_once_and_its_modes_and_generators_stay(monkeypatch):
    model = small(max_position_embeddings=97)
    model.train()
    state, passes = torch.random.get_rng_state(), []
    model.model.register_forward_pre_hook(lambda *given: passes.append(1))
    first = decoding_way(model, longest=20)
    assert passes
    passes.clear()
    other = copy.deepcopy(model)
    assert decoding_way(model, longest=30) == decoding_way(other, longest=20) == first
    assert not passes
    assert model.training
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["phi 3, long positions", "granite", "gpt 2"])
def test_log_likelihoods_of_tasks_are_those_of_the_models_own_forward_pass(name):
    model = make(name)
    requests = [
        (prompt, [(5 * place + row) % SIZE for place in range(TOKENS - row)]) for row, prompt in enumerate(PROMPTS)
    ]
    requests += [(PROMPTS[2], [7, 9]), (PROMPTS[2], [9, 7, 5])]
    answers = loglikelihoods(model, requests, max_length=64, batch=8)
    for (prompt, continuation), (logp, _) in zip(requests, answers, strict=True):
        # The last token is never read, and a row's length may be what decides.
        ids = torch.tensor([[*prompt, *continuation][:-1]])
        with torch.no_grad():
            own = model(ids, use_cache=False).logits[0, len(prompt) - 1 :].double().log_softmax(-1)
        expected = own.gather(-1, torch.tensor(continuation)[:, None]).sum()
        assert logp == pytest.approx(float(expected), abs=1e-4)

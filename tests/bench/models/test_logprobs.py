"""The log-prob path against the plain way: full logits, log-softmax, gather."""

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from bench.data.collate import collate_rows
from bench.models.logprobs import CompletionLogProbs
from tests.bench.conftest import VOCABULARY, tiny_model, tiny_pairs


def plain(model: torch.nn.Module, prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]])
    logps = model(input_ids=ids).logits.float().log_softmax(-1)[0, :-1]
    return logps.gather(-1, ids[0, 1:, None]).squeeze(-1)[len(prompt) - 1 :]


def rows() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(pair.prompt_ids, pair.chosen_ids) for pair in tiny_pairs().rows[:7]]


def test_log_probs_equal_the_plain_way_row_by_row_whatever_the_padding():
    model = tiny_model()
    logps, mask, *_ = CompletionLogProbs(model)(collate_rows(rows(), pad_id=1))
    for row, values, where in zip(rows(), logps, mask, strict=True):
        torch.testing.assert_close(values[where], plain(model, *row), rtol=1e-5, atol=1e-5)
        assert where.sum() == len(row[1])
    assert not logps[~mask].any()


def test_gradients_equal_the_plain_way():
    fast, slow = tiny_model(), tiny_model()
    CompletionLogProbs(fast)(collate_rows(rows(), pad_id=1))[0].sum().backward()
    sum(plain(slow, *row).sum() for row in rows()).backward()
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_a_model_that_transforms_its_logits_takes_its_own_forward():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5, pad_token_id=1, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    logps, mask, *_ = CompletionLogProbs(model)(collate_rows(rows()[:1], pad_id=1))
    torch.testing.assert_close(logps[mask], plain(model, *rows()[0]), rtol=1e-5, atol=1e-5)

"""Dropout of adapters: masks by seed, step and token, the same in every batch and layout."""

import itertools
import threading

import pytest
import torch
from torch import nn

from bench.core.specs import LoraSpec
from bench.data.collate import collate_rows
from bench.errors import RunError
from bench.models.dropout import RowDropout, TokenKeys, drop_by_row, dropout_of, only_tokens, prefixes, row_masks
from bench.models.loading import with_lora
from bench.models.logprobs import CompletionLogProbs
from bench.models.packed.layout import pack
from tests.bench.conftest import tiny_model

ROWS = [((3, 5, 7), (9, 2, 4)), ((3, 5, 7), (9, 8)), ((5, 3), (2,)), ((3, 5), (7, 9, 2, 4, 6)), ((4,), (1, 1, 1))]
OTHERS = [((8, 8, 8, 8, 2, 3), (1, 2, 3, 4)), ((3, 5, 7), (1, 1))]


def key_of(row, *, place, seed=0, step=0):
    """The key of a token of a row, padded and alone."""
    return TokenKeys(collate_rows([row], 0), seed=seed, step=step).keys[0, place].item()


def test_a_key_depends_on_the_tokens_up_to_its_own_on_seed_and_on_step_and_on_nothing_else():
    laid = collate_rows([*OTHERS, *ROWS], 0)
    keys = TokenKeys(laid, seed=0, step=0).keys
    for number, (prompt, completion) in enumerate([*OTHERS, *ROWS]):
        for place in range(len(prompt) + len(completion)):
            assert keys[number, place] == key_of((prompt, completion), place=place)
    assert key_of(ROWS[0], place=3) == key_of(ROWS[1], place=3) == key_of(ROWS[3], place=3)
    assert key_of(ROWS[0], place=4) != key_of(ROWS[1], place=4)
    assert key_of(((3, 5), (2,)), place=1) != key_of(((5, 3), (2,)), place=1)
    assert len({key_of(ROWS[0], place=0, seed=seed, step=step) for seed in range(9) for step in range(9)}) == 81


def test_a_packed_row_has_the_keys_of_a_padded_one():
    layout, padded = pack([*ROWS, *OTHERS]), collate_rows([*ROWS, *OTHERS], 0)
    ours, theirs = prefixes(layout)[0], prefixes(padded)
    firsts = {}
    for number, (prompt, completion) in enumerate([*ROWS, *OTHERS]):
        firsts.setdefault(prompt, number)
        assert len(completion) == int(padded.completion[number].sum())
    for prompt, (start, end), own in zip(_prompts(layout), layout.prompts, layout.completions, strict=True):
        assert torch.equal(ours[start:end], theirs[firsts[prompt], : len(prompt)])
        rows = [n for n, row in enumerate([*ROWS, *OTHERS]) if row[0] == prompt and len(row[1]) > 1]
        for number, (first, last) in zip(rows, own, strict=True):
            assert torch.equal(ours[first:last], theirs[number, len(prompt) : len(prompt) + last - first])


def _prompts(layout):
    return [tuple(layout.ids[0, start:end].tolist()) for start, end in layout.prompts]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_masks_are_even_and_independent_over_features_tokens_layers_and_steps(rate):
    tokens, features = 512, 513
    laid = collate_rows([(tuple(range(tokens)), (0,))], 0)
    x = torch.ones(1, tokens + 1, features)

    def kept(*, number, step):
        with dropout_of(seed=1, step=step), row_masks(laid):
            out = RowDropout(rate, number=number)(x)[0]
        assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - rate)).item()} or rate != 0.5
        return (out > 0).double()

    masks = [kept(number=number, step=step) for number, step in ((0, 0), (1, 0), (0, 1), (5, 7))]
    deviation = (rate * (1 - rate)) ** 0.5
    for mask in masks:
        assert abs(mask.mean() - (1 - rate)) < 4 * deviation / mask.numel() ** 0.5
        for means, count in ((mask.mean(dim=0), len(mask)), (mask.mean(dim=1), features)):
            assert (means - (1 - rate)).abs().max() < 5 * deviation / count**0.5
        centred = (mask - (1 - rate)) / deviation
        for down, right in itertools.product(range(3), range(9)):
            if down or right:
                shifted = centred[down:, right:] * centred[: len(centred) - down, : features - right]
                assert abs(shifted.mean()) < 4.5 / shifted.numel() ** 0.5
    for one, other in itertools.combinations(masks, 2):
        product = (one - 1 + rate) * (other - 1 + rate) / deviation**2
        assert abs(product.mean()) < 4.5 / product.numel() ** 0.5


def test_what_is_kept_is_scaled_so_that_the_mean_stays_and_a_rate_of_nearly_nothing_drops_nothing():
    laid = collate_rows([(tuple(range(40)), (0,))], 0)
    x = torch.randn(1, 41, 300, dtype=torch.float64).abs()
    with dropout_of(seed=0, step=0), row_masks(laid):
        out = RowDropout(0.25, number=0)(x)
        assert torch.equal(RowDropout(1e-6, number=0)(x), x)
    stays = out != 0
    assert torch.allclose(out[stays], x[stays] / 0.75)
    assert abs(out.mean() / x.mean() - 1) < 0.03


def test_nothing_is_dropped_but_in_a_training_pass():
    module, x = RowDropout(0.9, number=0).train(), torch.randn(1, 4, 8)
    laid = collate_rows([((1, 2, 3), (4,))], 0)
    assert torch.equal(module(x), x)
    with row_masks(laid):
        assert torch.equal(module(x), x)
    with dropout_of(seed=0, step=0):
        assert torch.equal(module(x), x)
        with row_masks(laid):
            assert not torch.equal(module(x), x)


def test_activations_of_other_tokens_than_those_of_the_pass_are_refused():
    laid, module = collate_rows([((1, 2, 3), (4,))], 0), RowDropout(0.5, number=0)
    with dropout_of(seed=0, step=0), row_masks(laid):
        flat = module(torch.ones(4, 8))
        assert torch.equal(flat, module(torch.ones(1, 4, 8))[0])
        with pytest.raises(RunError, match=r"shape \[3, 8\] in a pass of \[1, 4\] tokens.*not known") as refused:
            module(torch.ones(3, 8))
        assert refused.value.fix == "--set lora.dropout=0"
        with only_tokens(torch.tensor([1, 3])):
            assert torch.equal(module(torch.ones(1, 2, 8)), flat[None, [1, 3]])


def test_adapters_of_a_model_drop_by_row_and_without_a_rate_have_no_such_module():
    dropping = with_lora(tiny_model(), LoraSpec(rank=2, dropout=0.1), seed=0)
    rows = [each for each in dropping.modules() if isinstance(each, RowDropout)]
    assert len(rows) == 14
    assert len({each.number for each in rows}) == 14
    assert not any(isinstance(each, nn.Dropout) for each in dropping.modules())
    plain = with_lora(tiny_model(), LoraSpec(rank=2), seed=0)
    drop_by_row(plain)
    assert not any(isinstance(each, RowDropout) for each in plain.modules())


def grown(dropout):
    """The tiny model with adapters that do something."""
    model = with_lora(tiny_model(), LoraSpec(rank=4, dropout=dropout), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "lora_B" in name:
                each.normal_(std=0.3)
    return model


def scores_of(*, packed, size, checkpointing, dropout=0.2):
    """Log-probs of all completion tokens, and the gradient of their squares, in micro-batches of ``size`` rows."""
    scored = CompletionLogProbs(grown(dropout), packed=packed, checkpointing=checkpointing)
    assert scored.packed is packed
    logps = []
    for start in range(0, len(ROWS), size):
        laid = scored.lay(ROWS[start : start + size], pad_id=1)
        with dropout_of(seed=3, step=5), row_masks(laid):
            scores = scored(laid)
        scores.logps.pow(2).sum().backward()
        logps += [row[mask] for row, mask in zip(scores.logps.detach(), scores.mask, strict=True)]
    return torch.cat(logps), torch.cat([p.grad.flatten() for p in scored.parameters() if p.requires_grad])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("way", ["padded, own head", "equal lengths", "single rows"])
def test_so_they_are_on_the_ways_of_models_that_cannot_be_padded(way, checkpointing):
    rows = [*ROWS, ((5, 3, 8), (2, 2, 2))]
    found = []
    for each, check in (("padded", False), (way, checkpointing)):
        scored = CompletionLogProbs(grown(0.2), checkpointing=check)
        scored.way = each
        laid = scored.lay(rows, pad_id=1)
        with dropout_of(seed=3, step=5), row_masks(laid):
            logps = scored(laid).logps
        logps.pow(2).sum().backward()
        found.append((logps.detach(), torch.cat([p.grad.flatten() for p in scored.parameters() if p.requires_grad])))
    assert far(found[1][0], found[0][0]) < 1e-6
    assert far(found[1][1], found[0][1]) < 1e-5


def far(one, other):
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("packed", "size"), [(True, 5), (True, 1), (False, 5), (False, 2)])
def test_log_probs_and_gradients_are_the_same_packed_padded_and_in_any_micro_batch(packed, size, checkpointing):
    logps, gradients = scores_of(packed=False, size=1, checkpointing=False)
    again, slopes = scores_of(packed=packed, size=size, checkpointing=checkpointing)
    assert far(again, logps) < 1e-6
    assert far(slopes, gradients) < 1e-5
    without, flat = scores_of(packed=packed, size=size, checkpointing=checkpointing, dropout=0.0)
    assert far(without, logps) > 1e-2
    assert far(flat, gradients) > 1e-2


def test_a_second_pass_in_another_thread_has_the_masks_of_the_first_one():
    """As on a GPU, where gradients are computed in a thread that knows nothing of the first pass."""
    _, gradients = scores_of(packed=True, size=5, checkpointing=False)
    for packed in (True, False):
        scored = CompletionLogProbs(grown(0.2), packed=packed, checkpointing=True)
        laid = scored.lay(ROWS, pad_id=1)
        with dropout_of(seed=3, step=5), row_masks(laid):
            total = scored(laid).logps.pow(2).sum()
        thread = threading.Thread(target=total.backward)
        thread.start()
        thread.join()
        assert far(torch.cat([p.grad.flatten() for p in scored.parameters() if p.requires_grad]), gradients) < 1e-5

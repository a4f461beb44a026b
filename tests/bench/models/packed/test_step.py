"""One optimiser step of every objective: packed, prefix-shared, chunked and fused it is the padded eager step."""

import copy
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from bench.core.specs import Execution
from bench.data.tokens import EncodedPair
from bench.models.logprobs import CompletionLogProbs
from bench.train import objective_batch
from bench.train.micro_batch import TrainContext
from bench.train.sampler import batch_units
from bench.train.step import optimiser_step
from losses import get, names
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_spec

COMPOSED = ("dpo+nll(0.2)", "dpo+wpo", "simpo+wpo", "kto+humanline", "tdpo2+nll(0.1)", "0.7*dpo + 0.3*ipo")


def moved(model, seed=1):
    """A policy that is not its reference, so that no gradient is zero by symmetry."""
    policy, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return policy


def step(name, *, packed, micro_batch=8, precision="fp32", data=None, watch=False):
    """The loss sums and the weights' change of one step of plain gradient descent."""
    data = data or tiny_pairs(12)
    start, objective = tiny_model(), get(name)
    with torch.no_grad():
        start.lm_head.weight *= 20  # so that entropies are not the largest there are, where their logarithm is nearly 0
    policy = CompletionLogProbs(moved(start), packed=packed)
    assert policy.packed is packed
    before = [p.detach().clone() for p in policy.parameters()]
    spec = tiny_spec(name, precision=precision, clip=1e9)
    context = TrainContext(
        spec=spec,
        objective=objective.at(1, 6),
        execution=Execution(micro_batch=micro_batch),
        accelerator=Accelerator(cpu=True),
        pad_id=data.pad_id,
    )
    vocabulary = bool(objective.requires & objective_batch.VOCABULARY)
    source = objective_batch.live_source(CompletionLogProbs(start, packed=packed), vocabulary=vocabulary)
    result = optimiser_step(
        policy,
        torch.optim.SGD(policy.parameters(), lr=1.0),
        batch_units(data, objective)[:8],
        context=context,
        source=source,
        state=None,
        check_parity=False,
        watch=watch,
    )
    change = torch.cat([(old - new.detach()).flatten() for old, new in zip(before, policy.parameters(), strict=True)])
    return result, change


@pytest.mark.parametrize("name", [*names(), *COMPOSED])
@pytest.mark.parametrize("micro_batch", [8, 3])
def test_loss_and_gradient_are_those_of_the_padded_step(name, micro_batch):
    oracle, expected = step(name, packed=False)
    result, change = step(name, packed=True, micro_batch=micro_batch)
    assert expected.norm() > 0
    assert float((change - expected).norm() / expected.norm()) < 1e-5
    assert result.sums == pytest.approx(oracle.sums, rel=1e-5, abs=1e-4)
    assert result.state == pytest.approx(oracle.state, rel=1e-5, abs=1e-6)
    assert result.grad_norm == pytest.approx(oracle.grad_norm, rel=1e-5)


@pytest.mark.parametrize("name", ["dpo", "kto", "tdpo2", "infonca", "aot"])
@pytest.mark.parametrize("packed", [False, True])
def test_entropy_and_top_1_are_those_of_the_whole_models_logits_and_change_no_step(name, packed):
    _, unwatched = step(name, packed=packed, micro_batch=3)
    result, change = step(name, packed=packed, micro_batch=3, watch=True)
    assert torch.equal(change, unwatched)
    data, model = tiny_pairs(12), tiny_model()
    with torch.no_grad():
        model.lm_head.weight *= 20
    model = moved(model)
    entropies, hits = [], []
    rows = [row for unit in batch_units(data, get(name))[:8] for row in unit]
    for prompt, completion, good in sides(rows):
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].detach()
        entropies.append(torch.distributions.Categorical(logits=logits).entropy())
        if good:
            hits.append(logits.argmax(dim=-1) == torch.tensor(completion))
    row = result.curve_row()
    assert row["entropy"] == pytest.approx(float(torch.cat(entropies).mean()), rel=1e-5)
    assert row["chosen_top1"] == pytest.approx(float(torch.cat(hits).float().mean()))
    assert 0 < row["chosen_top1"] < 1


def sides(rows):
    """(prompt, completion, whether it is the good one) of pairs and of single completions."""
    for row in rows:
        if isinstance(row, EncodedPair):
            yield row.prompt_ids, row.chosen_ids, True
            yield row.prompt_ids, row.rejected_ids, False
        else:
            yield row.prompt_ids, row.completion_ids, row.desirable


def test_what_is_not_watched_is_unknown_and_not_zero():
    row = step("dpo", packed=True)[0].curve_row()
    assert row["entropy"] is None
    assert row["chosen_top1"] is None


@pytest.mark.parametrize("name", ["dpo", "simpo", "kto", "tdpo2", "aot"])
def test_chunks_of_one_example_give_the_same_step(name, monkeypatch):
    monkeypatch.setattr("bench.train.micro_batch.chunk_tokens", lambda vocabulary: 1)
    monkeypatch.setattr("bench.models.packed.forward.chunk_tokens", lambda vocabulary: 3)
    _, expected = step(name, packed=False)
    _, change = step(name, packed=True)
    assert float((change - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("name", ["dpo", "ipo", "simpo", "kto", "tdpo2", "aot"])
def test_without_kernels_the_step_is_the_same(name, monkeypatch):
    _, expected = step(name, packed=False)
    for module in ("attention", "head", "pointwise"):
        monkeypatch.setattr(f"bench.models.packed.{module}.kernels", lambda: None)
    _, change = step(name, packed=True)
    assert float((change - expected).norm() / expected.norm()) < 1e-5


def test_prompts_that_many_pairs_share_are_computed_once_and_change_nothing():
    data = tiny_pairs(12)
    shared = tuple(replace(row, prompt_ids=data.rows[number // 4].prompt_ids) for number, row in enumerate(data.rows))
    data = replace(data, rows=shared)
    _, expected = step("dpo", packed=False, data=data)
    _, change = step("dpo", packed=True, data=data)
    assert float((change - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("name", ["dpo", "tdpo2", "aot"])
def test_in_bf16_the_packed_step_is_as_near_to_fp32_as_the_padded_one(name):
    _, exact = step(name, packed=False)
    _, padded = step(name, packed=False, precision="bf16")
    _, packed = step(name, packed=True, precision="bf16")
    far = [float((each - exact).norm() / exact.norm()) for each in (padded, packed)]
    assert far[1] < 2 * far[0] < 0.2

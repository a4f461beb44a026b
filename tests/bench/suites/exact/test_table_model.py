"""The table of logits as a causal language model: its log-probs, its folder, its training."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot
from transformers import AutoModelForCausalLM

from bench.core.specs import Execution
from bench.data.collate import collate_rows
from bench.data.table import write_encoded
from bench.evaluate.metrics.kl import sequence_kl
from bench.evaluate.sampling import sample
from bench.models.completion_logits import completion_logits
from bench.models.loading import load_model, load_tokenizer, model_hash
from bench.models.logprobs import CompletionLogProbs
from bench.models.table_model import TableModel
from bench.models.token_stats import log_collision, relative_entropy, token_kl
from bench.suites.exact.evaluate import policy_logps
from bench.suites.exact.labels import encode_problem
from bench.suites.exact.measures import kl
from bench.suites.exact.problem import sequence_logps
from bench.suites.exact.start_model import start_model, write_start_model
from bench.train.job import TrainJob, run_job, write_job
from losses import get
from tests.bench.conftest import tiny_reference, tiny_spec
from tests.bench.suites.exact.conftest import small
from tests.bench.train.distributed.material import started


def moved(model: TableModel, *, by: float = 0.5, seed: int = 0) -> TableModel:
    """Another policy: the table with noise."""
    other = copy.deepcopy(model)
    noise = torch.randn(other.table.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        other.table.add_(by * noise)
    return other


def rows_of(problem):
    return [(problem.prompt(c), ids) for c in range(problem.spec.contexts) for ids in problem.completions]


@pytest.mark.parametrize(("symbols", "length"), [(1, 1), (1, 3), (2, 2), (3, 4)])
def test_the_harness_reads_the_log_probs_of_the_table(symbols, length):
    problem = small(symbols=symbols, length=length)
    model = moved(start_model(problem))
    scores = CompletionLogProbs(model)(collate_rows(rows_of(problem), 0))
    expected = sequence_logps(model.table.detach().numpy())
    np.testing.assert_allclose(scores.logps.sum(1).view(expected.shape).detach(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scores.mask.sum(1).view(expected.shape), np.tile(problem.lengths, (4, 1)))


def test_logits_are_those_of_the_end_and_the_symbols_and_measures_over_them_do_not_depend_on_the_contexts():
    problem = small()
    model, other = start_model(problem), moved(start_model(problem))
    rows = collate_rows(rows_of(problem), 0)
    logits, far = (completion_logits(each, rows, way="padded, own head") for each in (model, other))
    assert logits.shape[1] == 3 == problem.spec.symbols + 1
    assert torch.isfinite(token_kl(logits, far)).all()
    assert torch.isfinite(log_collision(logits)).all()
    p = logits.softmax(dim=-1)
    torch.testing.assert_close(relative_entropy(logits), -(p * p.log()).sum(-1) / math.log(3))


def test_what_follows_the_end_is_finite_and_padding_changes_nothing():
    model = start_model(small())
    alone, padded = model(torch.tensor([[3, 0]])).logits, model(torch.tensor([[3, 0, 0]])).logits
    assert torch.isfinite(padded).all()
    torch.testing.assert_close(padded[:, :1], alone[:, :1], rtol=0, atol=0)


def test_more_tokens_than_the_longest_completion_are_refused():
    with pytest.raises(ValueError, match="4 tokens; prompt and completion have at most 3"):
        start_model(small())(torch.tensor([[3, 1, 1, 1]]))


def test_a_gradient_reaches_the_prefixes_of_the_completion_and_no_others():
    problem = small()
    model = start_model(problem)
    CompletionLogProbs(model)(collate_rows([(problem.prompt(2), (1, 2))], 0)).logps.sum().backward()
    touched = model.table.grad.abs().sum(-1) > 0
    assert [tuple(place) for place in touched.nonzero().tolist()] == [(2, 0), (2, 1)]
    # d log π(token) / d logits is the token's indicator less the probabilities.
    expected = one_hot(torch.tensor(1), 3) - model.table[2, 0].softmax(-1)
    torch.testing.assert_close(model.table.grad[2, 0], expected)


def test_a_folder_gives_back_the_same_model_and_tokenizer(tmp_path, quiet):
    problem = small(symbols=3, length=3)
    write_start_model(problem, tmp_path / "one")
    write_start_model(problem, tmp_path / "two")
    assert model_hash(tmp_path / "one") == model_hash(tmp_path / "two")
    model, tokenizer = load_model(tmp_path / "one"), load_tokenizer(tmp_path / "one")
    assert isinstance(model, TableModel)
    np.testing.assert_array_equal(model.table.detach().numpy(), problem.start_logits)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert torch.equal(again.table, model.table)
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    assert len(tokenizer) == problem.vocabulary
    assert tokenizer("x1 a b a", add_special_tokens=False)["input_ids"] == [4, 1, 2, 1]
    assert tokenizer.decode([4, 1, 2, 1, 0], skip_special_tokens=True) == "x1 a b a"


def test_samples_have_the_exact_frequencies_and_kl():
    problem = small(contexts=2)
    policy, start = moved(start_model(problem), by=1.0), start_model(problem)
    samples = sample(policy, [problem.prompt(0)] * 8000, max_tokens=2, temperature=1.0, seed=0, end_ids=frozenset({0}))
    exact = policy_logps(policy, problem, contexts=[0, 1])
    shares = np.array([samples.completions.count(ids) for ids in problem.completions]) / 8000
    np.testing.assert_allclose(shares, np.exp(exact[0]), atol=0.02)
    divergence = sequence_kl(policy, start, samples, batch=4096).numpy()
    error = divergence.std() / math.sqrt(8000)
    assert abs(divergence.mean() - kl(exact, problem.log_ref)[0]) < 4 * error


@pytest.mark.parametrize("use_cache", [True, False])
def test_transformers_generate_writes_completions(use_cache):
    problem = small()
    torch.manual_seed(0)
    prompts = torch.tensor([problem.prompt(c) for c in range(4)])
    written = start_model(problem).generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=2, do_sample=True, use_cache=use_cache
    )
    for row in written[:, 1:].tolist():
        assert tuple(row[: row.index(0) + 1] if 0 in row else row) in problem.completions


@pytest.mark.parametrize("objective", ["dpo", "simpo", "kto", "tr_dpo", "sdpo", "tdpo2", "aot", "ld_dpo", "rrhf"])
def test_the_loop_trains_the_table(run_loop, objective):
    problem = small(pairs=64)
    data, start = encode_problem(problem, "train"), start_model(problem)
    spec = tiny_spec(objective, steps=30, batch=32, learning_rate=3e-2, max_length=3)
    progress, policy = run_loop(spec, data=data, model=copy.deepcopy(start), start=start)
    assert progress.status == "completed"
    assert progress.curves["loss"][-1] < progress.curves["loss"][0]
    assert not torch.equal(policy.table, start.table)


@pytest.mark.slow
def test_two_ranks_train_the_table_as_one_process_does(tmp_path, quiet):
    problem = small(pairs=48)
    data, spec = encode_problem(problem, "train"), tiny_spec("dpo", learning_rate=1e-3, max_length=3)
    write_start_model(problem, tmp_path / "model")
    (tmp_path / "data").mkdir()
    write_encoded(data, tmp_path / "data")
    tiny_reference(start_model(problem), data, spec, tmp_path / "reference")
    curves = []
    for ranks in (1, 2):
        job = TrainJob(
            spec=spec, execution=Execution(processes=ranks, micro_batch=4, device="cpu"), model=tmp_path / "model",
            data=tmp_path / "data", references=tuple((tmp_path / "reference").iterdir()),
            results=tmp_path / f"results-{ranks}",
        )  # fmt: skip
        if ranks == 1:
            run_job(job, report=lambda step, row: None, should_stop=lambda: False)
        else:
            done = started("bench.train", [write_job(job)], ranks=ranks)
            assert done.returncode == 0, done.stderr[-3000:]
        assert isinstance(load_model(job.run / "checkpoint"), TableModel)
        curves.append(json.loads((job.run / "train.json").read_text())["curves"])
    one, two = curves
    for name in ("loss", "margin", "grad_norm"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6)


def test_dpo_on_a_population_reaches_the_optimum_of_its_beta(run_loop):
    """Bradley-Terry labels in exact proportion: DPO's minimum is π* ∝ π_ref · exp(r / β) itself."""
    problem = small(symbols=2, length=1, contexts=2, reward="levels", labels="population")
    data, start = encode_problem(problem, "train"), start_model(problem)
    spec = tiny_spec(
        "dpo", steps=300, batch=len(data.rows), learning_rate=5e-2, max_length=2, params={"beta": 0.5}, warmup=0.0
    )
    _, policy = run_loop(spec, data=data, micro_batch=len(data.rows), model=copy.deepcopy(start), start=start)
    log_policy = policy_logps(policy, problem, contexts=[0, 1])
    optimum = problem.log_ref + problem.reward / get("dpo").resolve({"beta": 0.5})["beta"]
    optimum = optimum - np.log(np.exp(optimum).sum(1, keepdims=True))
    np.testing.assert_allclose(log_policy, optimum, atol=1e-3)

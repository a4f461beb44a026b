"""Seconds of a plan: of a step, a reference pass and an evaluation, against the real ones here and now."""

import copy
import time
from pathlib import Path

import pytest
import torch

from bench.core.request import RunRequest
from bench.data.collate import longest_of
from bench.evaluate.checkpoint import Yardstick, sample_rows
from bench.models.logprobs import CompletionLogProbs, ReferenceScores
from bench.models.reference_cache import compute
from bench.runner.estimate.amounts import Amounts, work_tokens
from bench.runner.estimate.outline import make_outline
from bench.runner.estimate.seconds import WIN_RATE, Timing, measure
from bench.train.distributed.parallelize import join_ranks, share
from bench.train.micro_batch import TrainContext
from bench.train.objective_batch import ReferenceSource, rows_of
from bench.train.sampler import batch_units, schedule_of, step_rows
from bench.train.step import optimiser_step

OFF = 2.0
"""A factor: on cores that others use too, the same work takes half as long again (docs/benchmarks.md: idle ones)."""


def cpu_seconds(work) -> float:
    """Return the shorter of two calls."""
    taken = []
    for _ in range(2):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """Return what a plan of the sentiment suite was measured to take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    options = {"loss": "dpo,kto", "trials": 1, "seeds": 1, "workers": "1", "out": tmp_path_factory.mktemp("results")}
    scratch: Path = tmp_path_factory.mktemp("scratch")
    outline = make_outline(RunRequest.from_options(options), scratch=scratch, note=lambda text: None)
    amounts = Amounts(outline)
    yield Timing(amounts, measure(amounts, device=torch.device("cpu"), workers=1))
    torch.set_num_threads(threads)


def near(predicted: float, seen: float) -> None:
    """Compare two times."""
    assert seen / OFF < predicted < seen * OFF, f"{predicted:.3f} s planned, {seen:.3f} s taken"


def test_the_probe_is_short(timed):
    assert timed.rates.layout == "packed"
    assert timed.rates.more.keys()


@pytest.mark.parametrize("place", [0, 1], ids=["dpo", "kto"])
def test_a_step_takes_what_was_planned(timed, place):
    workspace = timed.plan.workspace
    search = timed.plan.searches[place]
    spec = search.spec(workspace, search.points[0], seed=0)
    accelerator = join_ranks(workspace.execution)
    scored = CompletionLogProbs(copy.deepcopy(workspace.start_model), packed=True, longest=timed.amounts.longest)
    policy, optimizer = share(scored, train=spec.train, sharing="alone", accelerator=accelerator)
    units = batch_units(workspace.data, search.objective)
    schedule = schedule_of(search.objective, spec)
    batch = [units[row] for row in step_rows([range(len(units))], schedule, spec=spec, step=0)]
    context = TrainContext(
        spec=spec, objective=search.objective, execution=workspace.execution, accelerator=accelerator, pad_id=1
    )

    def own(rows, laid):
        return ReferenceScores(logps=torch.zeros(laid.mask.shape), logits=None, entropy=None)

    source: ReferenceSource = own

    def step() -> None:
        optimiser_step(policy, optimizer, batch, context=context, source=source, state=None, check_parity=False)

    step()
    near(timed.step(search), cpu_seconds(step))


def test_a_reference_pass_takes_what_was_planned(timed):
    workspace = timed.plan.workspace
    rows = list(dict.fromkeys(rows_of(workspace.data.rows[:192])))
    scored = CompletionLogProbs(workspace.start_model, packed=True, longest=longest_of(rows))
    seen = cpu_seconds(lambda: compute(rows, scored, pad_id=1, precision="fp32", batch=64))
    near(timed.forward(work_tokens(rows, packed=True)), seen)


def test_an_evaluation_takes_what_was_planned(timed):
    workspace = timed.plan.workspace
    spec = workspace.evaluation.model_copy(update={"lm_eval": (), "judge": False})
    held_out = workspace.held_out["validation"]
    rows = list(dict.fromkeys(rows_of(held_out.rows[: spec.pairs])))
    start = workspace.start_model
    yardstick = Yardstick(
        start=start, tokenizer=workspace.tokenizer, gold=workspace.gold, prompts=workspace.prompts["validation"],
        held_out=held_out, reference=None, baseline=None, tasks=None, packed=True,
    )  # fmt: skip
    model = copy.deepcopy(start)
    scored = CompletionLogProbs(model, packed=True, longest=longest_of(rows))

    def evaluated() -> None:
        sample_rows(model, yardstick, spec=spec)
        compute(rows, scored, pad_id=1, precision="fp32", batch=64)

    seen = cpu_seconds(evaluated)
    planned = timed.evaluation("validation").run
    tasks = timed._tasks("validation")
    near(planned - tasks - WIN_RATE * timed.rates.python, seen)

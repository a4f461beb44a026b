"""KTO's zero point: the mean log-ratio of mismatched completions, against that of all of them."""

import random
import statistics

import pytest
import torch

from bench.data.collate import mismatched
from bench.data.tokens import singles_in
from bench.models.logprobs import CompletionLogProbs
from bench.train.objective_batch import single_rows
from bench.train.sampler import batch_units
from losses import get
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_spec

BATCH, BATCHES = 8, 300


def sums(model, rows):
    scored = CompletionLogProbs(model, packed=True)
    with torch.no_grad():
        return scored(scored.lay(rows, pad_id=1)).logps.double().sum(dim=1)


def next_row_of_another_prompt(rows):
    """The completion of the next row with another prompt, whatever its label."""
    count = len(rows)
    for place, row in enumerate(rows):
        step = next(step for step in range(1, count) if rows[(place + step) % count].group != row.group)
        yield row.prompt_ids, rows[(place + step) % count].completion_ids


@pytest.fixture
def trained(run_loop):
    data = tiny_pairs()
    _, policy = run_loop(tiny_spec("dpo", steps=12), data=data)
    units = batch_units(data, get("kto"))
    singles = singles_in(row for unit in units for row in unit)
    every = [(own.prompt_ids, other.completion_ids) for own in singles for other in singles if own.group != other.group]
    distinct = list(dict.fromkeys(every))
    ratios = sums(policy, distinct) - sums(tiny_model(), distinct)
    table = dict(zip(distinct, ratios.tolist(), strict=True))
    return units, table, statistics.fmean(table[row] for row in every)


def errors(units, table, truth, estimate):
    """Distance of the mean over many batches from the truth, in standard errors, and in nats."""
    draw = random.Random(0)
    found = []
    for _ in range(BATCHES):
        rows = singles_in(row for unit in draw.sample(units, BATCH) for row in unit)
        found.append(statistics.fmean(table[row] for row in estimate(rows)))
    off = statistics.fmean(found) - truth
    return off / (statistics.stdev(found) / BATCHES**0.5), off


def test_it_is_unbiased_on_a_trained_model_and_the_next_row_of_any_label_is_not(trained):
    deviations, _ = errors(*trained, lambda rows: single_rows(mismatched(rows)))
    assert abs(deviations) < 3
    biased, nats = errors(*trained, next_row_of_another_prompt)
    assert biased > 10
    assert nats > 0.5

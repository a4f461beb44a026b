"""Training by the suite's own loop ends at each objective's own optimum, which theory gives in closed form."""

import copy

import numpy as np
import pytest

from bench.suites.exact.evaluate import policy_logps
from bench.suites.exact.labels import encode_problem
from bench.suites.exact.measures import kl
from bench.suites.exact.problem import preference_table
from bench.suites.exact.start_model import start_model
from bench.suites.exact.theory.optima import own_optimum
from bench.suites.exact.theory.population import Population
from losses import get
from tests.bench.conftest import tiny_spec
from tests.bench.suites.exact.conftest import small

TWO, THREE = {"symbols": 1, "length": 1}, {"symbols": 2, "length": 1}
CASES = [
    ("dpo", THREE, {"beta": 1.0}),
    ("dpo", {"symbols": 2, "length": 2}, {"beta": 1.0}),
    ("ipo_sum", THREE, {"beta": 0.5}),
    ("ipo", {"symbols": 2, "length": 2}, {"beta": 0.5}),
    ("cdpo", TWO, {"beta": 1.0, "epsilon": 0.1}),
    ("robust", {**THREE, "flips": 0.1}, {"beta": 1.0, "epsilon": 0.1}),
    ("dpo_js", THREE, {"beta": 1.0}),
    ("dpo_forward_kl", THREE, {"beta": 1.0}),
    ("dpo_alpha", THREE, {"beta": 1.0}),
    ("chi_po", THREE, {"beta": 1.0}),
    ("exo_pair", TWO, {"beta": 1.0}),
    ("cauchy_dpo", TWO, {"beta": 1.0}),
    ("dpo_pl", THREE, {"beta": 1.0}),
    ("infonca", THREE, {"beta": 1.0}),
    ("bco_pair", TWO, {"beta": 1.0}),
    ("simpo", TWO, {"beta": 2.0}),
    ("sft", THREE, {}),
]


@pytest.mark.parametrize(
    ("name", "dials", "params"), CASES, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(CASES)]
)
def test_population_data_lead_to_the_closed_form(run_loop, name, dials, params):
    problem = small(contexts=2, reward="levels", labels="population", **dials)
    data, start = encode_problem(problem, "train"), start_model(problem)
    rows = len(data.rows)
    spec = tiny_spec(name, steps=160, batch=rows, learning_rate=0.1, max_length=4, params=params, warmup=0.05)
    _, policy = run_loop(spec, data=data, micro_batch=rows, model=copy.deepcopy(start), start=start)
    population = Population(
        log_ref=problem.log_ref, preference=preference_table(problem), lengths=problem.lengths, reward=problem.reward
    )
    own = own_optimum(name, get(name).resolve(params), population)
    assert kl(policy_logps(policy, problem, contexts=[0, 1]), own).max() < 1e-4
    # the start model is not there already
    assert np.abs(kl(problem.log_ref, own)).max() > 1e-2

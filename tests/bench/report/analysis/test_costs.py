"""What a comparison cost: sums over runs, each run once; energy only where it is known, and how."""

import json

import pytest

from bench.core.record import Cost, Energy
from bench.core.results import load_records
from bench.report.analysis.costs import ALL, costs_markdown, costs_of
from tests.bench.cli.test_cli import bench
from tests.bench.report.conftest import record, run_spec


def costing(made, **changes):
    return made.model_copy(update={"cost": Cost.model_validate({**made.cost.model_dump(), **changes})})


def energy(joules, source="estimated"):
    return Energy(joules=joules, source=source, method="m")


def test_hours_tokens_and_money_add_up_over_runs_and_devices():
    one = costing(record(run_spec(seed=0), seconds=3600.0), devices=2)
    other = record(run_spec("ipo", seed=1), seconds=1800.0)
    dpo, ipo, every = costs_of([one, other], price=3.0)
    assert [row.objective for row in (dpo, ipo, every)] == ["dpo", "ipo", ALL]
    assert dpo.device_hours == pytest.approx(2 * 1.0 + 0.5)  # two ranks train, one process evaluates
    assert ipo.device_hours == pytest.approx(0.75)
    assert every.device_hours == pytest.approx(3.25)
    assert every.price == pytest.approx(9.75)
    assert (every.runs, every.tokens) == (2, 200_000)


def test_a_run_that_was_evaluated_twice_was_trained_once():
    spec = run_spec()
    both = [record(spec, split=split, seconds=3600.0) for split in ("validation", "test")]
    row, _ = costs_of(both)
    assert row.runs == 1
    assert row.device_hours == pytest.approx(1 + 2 * 0.5)
    assert row.tokens == 100_000


def test_protocols_are_summed_apart():
    rows = costs_of([record(run_spec(), protocol=p * 16) for p in "ab"])
    assert [(row.protocol[0], row.objective) for row in rows] == [("a", "dpo"), ("a", ALL), ("b", "dpo"), ("b", ALL)]


@pytest.mark.parametrize(
    ("energies", "kwh", "known", "unknown"),
    [
        ([energy(1.8e6), energy(1.8e6)], None, "unknown", 2),
        ([energy(3.6e6, "measured"), energy(3.6e6, "measured")], 2.0, "measured", 0),
        ([energy(3.6e6, "measured"), energy(3.6e6)], 1.0, "measured", 1),
        ([energy(3.6e6, "measured"), None], 1.0, "measured", 1),
        ([None, None], None, "unknown", 2),
    ],
)
def test_energy_is_summed_where_it_was_measured_and_other_runs_are_counted_as_unknown(energies, kwh, known, unknown):
    made = [costing(record(run_spec(seed=seed)), energy=each) for seed, each in enumerate(energies)]
    row, _ = costs_of(made)
    assert row.kwh == (None if kwh is None else pytest.approx(kwh))
    assert (row.energy, row.unknown_energy) == (known, unknown)
    assert f"{unknown} runs unknown" in costs_markdown([row]) or not unknown or kwh is None


def test_a_real_sweep_knows_its_devices_and_has_no_energy_that_was_not_measured(whole):
    trained = [each for each in load_records(whole) if each.spec.objective == "dpo"]
    assert all(each.cost.energy is None or each.cost.energy.source == "measured" for each in trained)
    assert all(each.cost.devices == 1 for each in trained)
    rows = json.loads(bench("status", "--out", whole, "--cost", "--price", "2", "--json").stdout)
    every = next(row for row in rows if row["objective"] == ALL)
    assert every["runs"] == 5
    known = [row["kwh"] for row in rows if row["objective"] != ALL and row["kwh"] is not None]
    assert every["kwh"] == (pytest.approx(sum(known)) if known else None)
    assert every["price"] == pytest.approx(2 * every["device_hours"])
    assert every["energy"] == ("measured" if known else "unknown")
    assert every["energy"] in bench("status", "--out", whole, "--cost").stdout


def test_published_results_have_costs_without_energy():
    rows = json.loads(bench("status", "--out", "results/published/exact", "--cost", "--json").stdout)
    assert rows
    assert all(row["kwh"] is None and row["energy"] == "unknown" for row in rows)

"""What is told of objectives comes from the registry alone, and the committed document is up to date."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.objectives import NEEDS, data_kind, markdown, needs, page, passes, row, select
from losses import Requires, get, names

DOCUMENT = Path(__file__).parents[3] / "docs" / "objectives.md"


def test_the_committed_document_is_what_the_registry_says() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), (
        "run: python -m bench.cli.objectives > docs/objectives.md"
    )


def test_there_are_fifty_objectives_and_each_says_everything() -> None:
    rows = json.loads(subprocess.check_output([sys.executable, "-m", "bench", "losses", "--json"], text=True))
    assert len(rows) >= 50
    for each in rows:
        assert all(each[field] for field in ("equation", "paper", "optimum", "reward", "aggregation", "extra_cost"))
        assert all(param["meaning"] and param["unit"] for param in each["params"].values())


@pytest.mark.parametrize("need", NEEDS)
def test_a_filter_keeps_those_that_match_and_drops_the_others(need: str) -> None:
    found = {each.name for each in select(paired=False, unpaired=False, reference_free=False, needed=[need])}
    assert found
    assert found == {name for name in names() if need in needs(get(name))}


def test_filters_combine() -> None:
    found = select(paired=True, unpaired=False, reference_free=True, needed=[])
    assert {"simpo", "orpo", "rrhf"} <= {each.name for each in found}
    assert all(Requires.REFERENCE not in each.requires and data_kind(each) != "unpaired" for each in found)


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("simpo", "nothing more"),
        ("dpo", "a cached reference"),
        ("tdpo1", "a forward pass of the reference"),
        ("aot", "a cached reference and a second forward pass of the policy"),
        ("kto", "a cached reference and a forward pass on mismatched completions"),
    ],
)
def test_the_cost_of_a_step_follows_from_what_is_needed(name: str, cost: str) -> None:
    assert passes(get(name)) == cost
    assert row(get(name))["extra_cost"] == cost


def test_the_page_of_a_composition_shows_its_equation_and_parameters() -> None:
    text = page(get("dpo+nll"))
    assert "ℓ - α s̄_w; ℓ = -log σ(β Δ)" in text
    assert "nll_weight (α)" in text

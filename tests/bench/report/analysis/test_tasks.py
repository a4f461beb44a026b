"""Paired tests on tasks: pairing, clusters, correction, the line on what training cost, and where it stands."""

import io

import numpy as np
import pytest
from rich.console import Console

from bench.core.record import START, RunRecord
from bench.core.task_outcomes import TaskOutcomes, packed
from bench.report.analysis.analysis import analyse
from bench.report.analysis.tasks import TaskComparison, against_first, worst_seen
from bench.report.page.render import page_html
from bench.report.tables.leaderboard import leaderboard
from bench.report.tables.markdown import leaderboard_markdown
from bench.report.tables.summary import summary_table
from bench.report.tables.tasks import between_texts, tax_text
from bench.stats.clustered import mcnemar
from tests.bench.report.conftest import record, run_spec, start_records

SIZES = (8,) * 67
BASE = np.random.default_rng(0).random(536) < 0.6


def outcomes(values, *, clusters=SIZES, documents="d" * 16, metric="acc") -> TaskOutcomes:
    return TaskOutcomes(
        metric=metric, documents=documents, values=packed([float(value) for value in values]),
        clustered_by="UID" if clusters else None, clusters=clusters,
    )  # fmt: skip


def moved(seed: int, *, share: float, lost: float) -> np.ndarray:
    """The start model's outcomes with a share changed at random, and a share of the right ones lost."""
    rng = np.random.default_rng(seed)
    changed = np.where(rng.random(len(BASE)) < share, ~BASE, BASE)
    return changed & ~(rng.random(len(BASE)) < lost)


def told(objective: str, tasks, *, seed=100, beta=0.1) -> list[RunRecord]:
    validation = record(run_spec(objective, beta=beta))
    test = record(run_spec(objective, beta=beta, seed=seed), split="test")
    return [validation, test.model_copy(update={"outcomes": tasks})]


def start(tasks) -> list[RunRecord]:
    validation, test = start_records()
    return [validation, test.model_copy(update={"outcomes": tasks})]


def several(*, seeds=3, lost=0.0) -> list[RunRecord]:
    made = start({"blimp": outcomes(BASE), "piqa": outcomes(BASE, clusters=())})
    for place, name in enumerate(("dpo", "ipo")):
        made.append(record(run_spec(name)))
        for seed in range(seeds):
            values = moved(10 * place + seed, share=0.05, lost=lost if name == "dpo" else 0.0)
            tasks = {"blimp": outcomes(values), "piqa": outcomes(moved(seed, share=0.05, lost=0.0), clusters=())}
            made.append(record(run_spec(name, seed=100 + seed), split="test").model_copy(update={"outcomes": tasks}))
    return made


def compared(records) -> TaskComparison:
    (comparison,) = analyse(records).comparisons
    return comparison.tasks


def test_a_loss_is_seen_and_named_and_nothing_else_is():
    comparison = compared(several(lost=0.3))
    assert {(test.first, test.task) for test in comparison.to_start if test.differs} == {("dpo", "blimp")}
    test = comparison.test("dpo", "blimp")
    assert test is not None
    assert test.lost
    assert test.difference.mean == pytest.approx(test.means[0] - test.means[1])
    assert (test.clusters, test.documents, test.difference.source) == (67, 536, "crossed")
    text = tax_text(comparison)
    assert text.startswith("alignment tax: dpo −")
    assert "points on blimp (p < 0.001); elsewhere none seen, could have seen ≥ " in text
    assert any(line.startswith("ipo has ") and "more than dpo on blimp" in line for line in between_texts(comparison))


def test_without_a_loss_the_line_says_what_could_have_been_seen():
    comparison = compared(several())
    assert not any(test.differs for test in comparison.to_start)
    worst = worst_seen(comparison.to_start)
    assert set(worst) == {"blimp", "piqa"}
    assert all(0.02 < drop < 0.15 for drop in worst.values())
    assert f"≥ {100 * worst['blimp']:.1f} points (blimp)" in tax_text(comparison)
    assert tax_text(comparison).startswith("alignment tax: none seen, could have seen ≥")


def test_one_run_against_one_without_clusters_is_mcnemar_corrected():
    one = moved(1, share=0.04, lost=0.08)
    made = start({"piqa": outcomes(BASE, clusters=()), "blimp": outcomes(BASE)})
    made += told("dpo", {"piqa": outcomes(one, clusters=()), "blimp": outcomes(BASE)})
    comparison = compared(made)
    test, same = comparison.test("dpo", "piqa"), comparison.test("dpo", "blimp")
    assert test.exact
    assert test.p == pytest.approx(2 * mcnemar(one.astype(float), BASE.astype(float)), rel=1e-9)
    assert test.difference.source == "prompts"
    assert not same.exact
    assert same.p == 1.0


def test_clusters_count_in_the_test():
    """All documents of twelve clusters lost: certain of documents alone, and less so of clusters."""
    lost = BASE & ~np.repeat(np.arange(67) % 9 == 0, 8)
    made = start({"blimp": outcomes(BASE), "piqa": outcomes(BASE, clusters=())})
    made += told("dpo", {"blimp": outcomes(lost), "piqa": outcomes(lost, clusters=())})
    comparison = compared(made)
    clustered, alone = comparison.test("dpo", "blimp"), comparison.test("dpo", "piqa")
    assert clustered.difference.mean == alone.difference.mean
    assert clustered.difference.half > 1.7 * alone.difference.half
    assert clustered.p > 100 * alone.p


def test_other_documents_are_not_compared_and_it_is_said():
    made = start({"blimp": outcomes(BASE)}) + told("dpo", {"blimp": outcomes(BASE, documents="e" * 16)})
    comparison = compared(made)
    assert comparison.to_start == ()
    assert "same documents" in comparison.untested[0]
    assert tax_text(comparison) is None


def test_a_single_cluster_has_no_test_and_it_is_said():
    made = start({"t": outcomes(BASE, clusters=(536,))}) + told("dpo", {"t": outcomes(BASE, clusters=(536,))})
    comparison = compared(made)
    assert comparison.to_start == ()
    assert "one cluster" in comparison.untested[0]


def test_old_records_have_no_tests_and_are_named():
    made = start({"blimp": outcomes(BASE)}) + told("dpo", {}) + told("ipo", {"blimp": outcomes(BASE)})
    comparison = compared(made)
    assert [test.first for test in comparison.to_start] == ["ipo"]
    assert comparison.untested[0].startswith("dpo: records from before")
    text = leaderboard_markdown(analyse(start_records() + told("dpo", {})).comparisons)
    assert "Not tested: records from before" in text


def test_what_is_no_mean_over_documents_is_named():
    made = start({"blimp": outcomes(BASE)}) + told("dpo", {"blimp": outcomes(BASE)})
    made[-1] = made[-1].model_copy(update={"provenance": {"lm_eval_uncompared": ["wikitext"]}})
    assert compared(made).untested == ("wikitext: no mean over documents of values from 0 to 1",)


def test_values_between_are_tested_too():
    rng = np.random.default_rng(3)
    before = rng.random(200)
    made = start({"squad": outcomes(before, clusters=(), metric="f1")})
    made += told("dpo", {"squad": outcomes(before * 0.9, clusters=(), metric="f1")})
    test = compared(made).test("dpo", "squad")
    assert test.lost
    assert not test.exact


def test_a_task_is_in_csv_markdown_terminal_and_page(tmp_path):
    records = several(lost=0.15)
    table = leaderboard(records)
    row = table[table.objective == "dpo"].query("best").iloc[0]
    test = compared(records).test("dpo", "blimp")
    assert row.blimp_acc_minus_start == pytest.approx(test.difference.mean)
    assert row.blimp_acc_minus_start_low == pytest.approx(test.difference.low)
    assert row.blimp_acc_p == pytest.approx(test.p)
    assert row.blimp_acc_could_see == pytest.approx(test.smallest)
    names = list(table.columns)
    assert names.index("blimp_acc_minus_start") == names.index("blimp_acc_stderr") + 1
    assert table[table.objective == START].blimp_acc_p.isna().all()
    comparisons = analyse(records).comparisons
    tax = tax_text(comparisons[0].tasks)
    text = leaderboard_markdown(comparisons)
    assert f"**A{tax[1:]}.**" in text
    assert text.index("### Tasks") < text.index("### What the sweeps say")
    assert "| dpo | blimp | " in text
    page = page_html(analyse(records), results=tmp_path)
    assert f"<strong>A{tax[1:].replace('<', '&lt;')}.</strong>" in page
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(summary_table(comparisons))
    assert "alignment tax: dpo −" in console.export_text()


def test_without_tasks_nothing_is_said_of_them():
    records = [each.model_copy(update={"evaluation": each.evaluation.model_copy(update={"lm_eval": ()})})
               for each in start_records() + told("dpo", {})]  # fmt: skip
    assert "### Tasks" not in leaderboard_markdown(analyse(records).comparisons)


def test_models_are_compared_with_the_first():
    models = {name: {"blimp": outcomes(moved(seed, share=0.05, lost=lost))}
              for seed, (name, lost) in enumerate({"a": 0.0, "b": 0.2, "c": 0.0}.items())}  # fmt: skip
    comparison = against_first(models, first="a")
    assert [(test.first, test.second) for test in comparison.to_start] == [("b", "a"), ("c", "a")]
    assert [test.lost for test in comparison.to_start] == [True, False]
    assert [(test.first, test.second) for test in comparison.between] == [("b", "c")]

"""The leaderboard: chosen on validation, ranked within one protocol, equal bytes from equal records."""

import html
import io
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.core.artifacts import write_whole
from bench.errors import RunError
from bench.report.analysis.analysis import analyse
from bench.report.analysis.comparison import compare_group
from bench.report.analysis.settings import group_records
from bench.report.page.render import page_html
from bench.report.tables.leaderboard import csv_text, leaderboard, write_leaderboard
from bench.report.tables.markdown import leaderboard_markdown
from bench.report.tables.summary import summary_table
from tests.bench.report.conftest import record, run_spec, start_records, study, write_records

TARGETS = st.lists(
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2, max_size=5, unique_by=(lambda t: t[0], lambda t: t[1])
)


def compared(records):
    return [compare_group(group) for group in group_records(records)]


def rendered(records, width=80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(summary_table(analyse(records).comparisons))
    return console.export_text()


@given(TARGETS)
def test_the_best_setting_is_chosen_by_validation_whatever_the_test_says(targets):
    records = []
    for place, (validation, test) in enumerate(targets):
        spec = run_spec(beta=0.1 * (place + 1))
        records += [record(spec, target=validation), record(spec, split="test", target=test)]
    table = leaderboard(records)
    assert list(table[table.best].validation_target) == [max(validation for validation, _ in targets)]
    swapped = [r.model_copy(update={"metrics": ()}) if r.evaluation.split == "test" else r for r in records]
    assert list(leaderboard(swapped).query("best").params) == list(table.query("best").params)


def test_finals_of_a_setting_that_is_no_longer_chosen_do_not_count():
    chosen, other = run_spec(beta=0.1), run_spec(beta=0.3)
    told = [record(chosen, target=0.5), record(other, target=0.4), record(chosen, split="test", target=0.3)]
    before = record(other.model_copy(update={"seed": 1000}), split="test", target=0.9)
    assert csv_text(leaderboard([*told, before])) == csv_text(leaderboard(told))


def test_without_validation_nothing_is_best():
    table = leaderboard([record(run_spec(beta=beta), split="test", target=beta) for beta in (0.1, 0.2)])
    assert not table.best.any()
    assert table["rank"].isna().all()


def test_two_protocols_are_never_ranked_together(full_study):
    other = study(("dpo", "ipo"), protocol="q" * 16)
    table = leaderboard([*full_study, *other])
    for protocol, size in (("p" * 16, 4), ("q" * 16, 2)):
        own = table[table.protocol == protocol]
        assert sorted(own["rank"].dropna()) == list(range(1, size + 1))
        assert (own.index.max() - own.index.min() + 1) == len(own)
    assert leaderboard_markdown(compared([*full_study, *other])).count("\n## ") == 2
    assert rendered([*full_study, *other]).count("sentiment: preset quick") == 2


@pytest.mark.parametrize("part", ["model", "data"])
def test_two_start_models_or_data_sets_are_never_ranked_together(part):
    here = record(run_spec())
    elsewhere = getattr(here.spec, part).model_copy(update={"content": "x" * 16})
    spec = here.spec.model_copy(update={part: elsewhere})
    records = [here, record(spec), record(here.spec, split="test", target=0.1), record(spec, split="test", target=0.9)]
    assert list(leaderboard(records)["rank"]) == [1, 1]


def test_without_a_test_run_there_is_no_rank():
    table = leaderboard([record(run_spec())])
    assert table.best.all()
    assert table["rank"].isna().all()


def test_best_rows_come_first_by_test_target_then_the_others(full_study):
    table = leaderboard(full_study)
    top = table.target.notna()
    assert list(table.target[top]) == sorted(table.target[top], reverse=True)
    assert list(table.index[top]) == list(range(5))
    assert set(table.objective[top]) == {"dpo", "ipo", "kto", "simpo", "start"}
    assert list(table["rank"].dropna()) == [1, 2, 3, 4]


def test_the_start_model_has_a_row_and_no_rank():
    table = leaderboard(
        [*start_records(), record(run_spec(), target=-0.5), record(run_spec(), split="test", target=-0.5)]
    )
    assert list(table.objective) == ["start", "dpo"]
    assert math.isnan(table["rank"][0])


@pytest.mark.parametrize(("target", "warned"), [(-0.5, True), (0.0, True), (0.01, False)])
def test_training_that_gained_nothing_is_told_in_table_terminal_and_page(target, warned, tmp_path):
    records = [*start_records(), record(run_spec(), target=target), record(run_spec(), split="test", target=target)]
    told = "No objective's mean exceeds the start model's"
    assert (told in leaderboard_markdown(compared(records))) is warned
    assert (told in " ".join(rendered(records).split())) is warned
    assert (told in html.unescape(page_html(analyse(records), results=tmp_path))) is warned


def test_what_was_not_tested_gained_neither_something_nor_nothing():
    records = [*start_records(), record(run_spec(), target=-0.5)]
    text = leaderboard_markdown(compared(records))
    assert "exceeds the start model" not in text
    assert "No objective has a test score yet" in text


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_records_give_equal_bytes(full_study, seed):
    shuffled = random.Random(seed).sample(full_study, len(full_study))
    assert csv_text(leaderboard(shuffled)) == csv_text(leaderboard(full_study))
    assert leaderboard_markdown(compared(shuffled)) == leaderboard_markdown(compared(full_study))


def test_only_the_cost_file_changes_with_the_machine(tmp_path):
    slow = [r.model_copy(update={"cost": r.cost.model_copy(update={"train_seconds": 999.0})}) for r in study(("dpo",))]
    first = write_leaderboard(write_records(tmp_path / "a", study(("dpo",))))
    again = write_leaderboard(tmp_path / "a")
    second = write_leaderboard(write_records(tmp_path / "b", slow))
    for name in ("csv", "markdown"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()
    assert first.cost.read_bytes() != second.cost.read_bytes()
    assert again == first
    assert b"\r" not in first.csv.read_bytes()


def test_a_diverged_trial_stays_in_the_table_and_is_not_best():
    bad, good = record(run_spec(beta=0.01), status="diverged"), record(run_spec(beta=0.1), target=-9.0)
    table = leaderboard([bad, good]).set_index("beta")
    assert table.diverged[0.01] == 1
    assert math.isnan(table.validation_target[0.01])
    assert (bool(table.best[0.01]), bool(table.best[0.1])) == (False, True)
    assert "1 of 1 diverged" in leaderboard_markdown(compared([bad, good]))
    assert "diverged" in rendered([bad, good])


def test_a_setting_with_a_diverged_seed_is_not_best_where_another_completed():
    lucky = [record(run_spec(beta=0.01, seed=0), target=5.0), record(run_spec(beta=0.01, seed=1), status="diverged")]
    steady = [record(run_spec(beta=0.1, seed=seed), target=0.1) for seed in (0, 1)]
    assert list(leaderboard(lucky + steady).query("best").beta) == [0.1]
    assert not leaderboard(lucky).best.any()


def test_training_fields_that_differ_become_columns_and_the_others_do_not():
    table = leaderboard([record(run_spec(steps=60)), record(run_spec(steps=120)), record(run_spec(rate=1e-3))])
    assert sorted(table.steps) == [60, 60, 120]
    assert sorted(table.learning_rate) == [3e-4, 3e-4, 1e-3]
    assert "batch" not in table.columns
    assert len(table) == 3


def test_means_and_intervals_are_of_the_test_seeds():
    trial = record(run_spec(), target=9.0)
    finals = [record(run_spec(seed=seed), split="test", target=0.1 * seed) for seed in (1, 2, 3)]
    plain = [one.model_copy(update={"scores": {}}) for one in finals]
    row = leaderboard([trial, *plain]).iloc[0]
    assert (row.seeds_validation, row.seeds_test, row.interval) == (1, 3, "seeds")
    assert row.target == pytest.approx(0.2)
    # t(0.975, 2) = 4.302653, s = 0.1
    assert row.target_high - row.target == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-5)


def test_differences_are_paired_by_seed():
    def runs(name, shift):
        own = [record(run_spec(name, seed=s), split="test", target=s / 10 + shift * (1 + s / 100)) for s in (1, 2, 3)]
        return [record(run_spec(name)), *own]

    table = leaderboard([*runs("dpo", 0.5), *runs("ipo", 0.4)]).set_index("objective")
    assert math.isnan(table.to_first["dpo"])
    assert table.to_first["ipo"] == pytest.approx(-0.102)
    assert table.to_first_high["ipo"] < 0
    assert list(table.verdict[["dpo", "ipo"]]) == ["first", "equal"]  # lower, but by less than the margin
    assert table.target_low["dpo"] < table.target_high["ipo"]


def test_one_run_evaluated_twice_on_one_split_is_refused():
    once = record(run_spec())
    with pytest.raises(RunError, match="evaluated twice"):
        leaderboard([once, once.model_copy(update={"evaluation_key": "other"})])


def test_other_tasks_get_columns():
    table = leaderboard(study(("dpo",)))
    assert table.blimp_acc.notna().sum() == 2
    assert table.blimp_acc_stderr.dropna().unique() == pytest.approx([0.0155])


def test_a_damaged_record_stops_the_leaderboard(tmp_path):
    write_records(tmp_path, [one := record(run_spec())])
    path = tmp_path / "runs" / one.key / "evals" / one.evaluation_key / "record.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunError, match="cannot be used"):
        write_leaderboard(tmp_path)
    assert not (tmp_path / "leaderboard.csv").exists()


def test_no_records_give_an_empty_table_with_its_header(tmp_path):
    written = write_leaderboard(tmp_path)
    assert written.csv.read_text().startswith("protocol,")
    assert "no finished runs" in written.markdown.read_text()


def test_the_summary_fits_eighty_columns_and_marks_the_best(full_study):
    lines = rendered(full_study).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.startswith("★") for line in lines) == 4
    assert not any("…" in line for line in lines)
    at = next(index for index, line in enumerate(lines) if line.startswith("★  dpo"))
    assert "beta=0.1 " in lines[at] + lines[at + 1]
    assert at == next(index for index, line in enumerate(lines) if line.startswith("★"))
    beneath = next(index for index, line in enumerate(lines) if "other settings" in line)
    assert all(index < beneath for index, line in enumerate(lines) if line.startswith("★") or "untrained" in line)
    assert sum("beta=" in line for line in lines[beneath:]) == 16


def test_the_summary_leaves_out_what_was_not_measured():
    plain = [
        one.model_copy(update={"metrics": tuple(m for m in one.metrics if m.task == "generation")})
        for one in study(("dpo",), final_seeds=0)
    ]
    assert "BLiMP" in rendered(study(("dpo",)))
    assert not {"BLiMP", "wins", "verdict"} & set(rendered(plain).split())
    assert "KL" in rendered(plain)


def test_the_summary_names_only_the_parameters_that_differ():
    specs = [run_spec(beta=beta) for beta in (0.1, 0.2)]
    several = [spec.model_copy(update={"params": {**spec.params, "gamma": 0.5}}) for spec in specs]
    assert "gamma" not in rendered([record(spec) for spec in several])
    assert "beta=0.1 gamma=0.5" in leaderboard_markdown(compared([record(spec) for spec in several]))
    assert "gamma=0.5" in rendered([record(several[0])])


@pytest.mark.parametrize(
    "module",
    [
        "report.tables.leaderboard",
        "report.figures.write",
        "report.tables.markdown",
        "report.tables.latex",
        "report.tables.summary",
        "core.results",
    ],
)
def test_reports_load_neither_torch_nor_optuna(module):
    script = (
        f"import sys, bench.{module}\n"
        "bad = {'torch', 'transformers', 'optuna', 'pandas', 'matplotlib', 'losses', 'sweeps'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_without_its_manifest_is_not_in_the_table(tmp_path):
    write_records(tmp_path, start_records())
    half = record(run_spec())
    folder = tmp_path / "runs" / half.key / "evals" / half.evaluation_key
    write_whole(folder, lambda p: (p / "record.json").write_text(half.model_dump_json()) and None, stage="evaluate")
    assert "dpo" not in write_leaderboard(tmp_path).csv.read_text()

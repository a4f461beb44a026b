"""Tables as data: the same columns for every suite, each of them documented, and every trial in tidy form."""

import io
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import app
from bench.core.record import Metric
from bench.errors import RunError, UsageError
from bench.report.analysis.analysis import analyse_folder
from bench.report.analysis.columns import NAMES
from bench.report.analysis.compared import compare_group
from bench.report.analysis.ranking import choose_groups, one_group
from bench.report.analysis.settings import group_records
from bench.report.tables import leaderboard as leaderboard_module
from bench.report.tables.leaderboard import leaderboard, trials, trials_text, write_leaderboard
from bench.report.tables.markdown import leaderboard_markdown
from bench.report.tables.summary import summary_table
from tests.bench.report.conftest import TUNING, record, run_spec, study, write_records

DOCUMENT = Path(__file__).parents[4] / "docs" / "leaderboard.md"


def documented(heading):
    section = DOCUMENT.read_text().split(f"\n## {heading}")[1].split("\n## ")[0]
    firsts = re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)
    return [name for first in firsts for name in re.findall(r"`([^`]+)`", first)]


@pytest.mark.parametrize(
    ("heading", "names"),
    [("leaderboard.csv", NAMES), ("trials.csv", leaderboard_module.TRIAL_NAMES)],
    ids=["leaderboard", "trials"],
)
def test_the_document_names_exactly_the_columns_that_are_written_in_their_order(heading, names):
    assert documented(heading) == list(names)


def test_every_suite_has_the_same_columns_and_its_tasks_last(full_study):
    bare = [r.model_copy(update={"metrics": r.metrics[:3], "scores": {}}) for r in study(("kto",))]
    assert list(leaderboard(bare).columns) == list(NAMES)
    assert list(leaderboard([]).columns) == list(NAMES)
    more = [*full_study, record(run_spec(steps=120))]
    assert list(leaderboard(more).columns) == [*NAMES, "steps", "blimp_acc", "blimp_acc_stderr"]


def with_share(records, name, share):
    added = Metric(task="generation", split="test", name=name, value=share, n=256)
    return [r.model_copy(update={"metrics": (*r.metrics, added)}) for r in records]


@pytest.mark.parametrize("name", ["empty_share", "copied_share", "constant_share", "repeated_share"])
def test_degenerate_samples_are_flagged_in_every_table(name):
    trial, sample = record(run_spec()), record(run_spec(seed=1), split="test")
    for share, flagged in ((0.06, True), (0.05, False)):
        records = [trial, *with_share([sample], name, share)]
        row = leaderboard(records).iloc[0]
        assert (row[name], row.degenerate) == (share, flagged)
        text = leaderboard_markdown([compare_group(g) for g in group_records(records)])
        assert ("dpo ⚠" in text, "no answers" in text) == (flagged, flagged)


def test_samples_that_were_not_looked_at_are_not_called_sound(full_study):
    assert leaderboard(full_study).degenerate.isna().all()


def test_trials_hold_every_number_of_every_run(full_study):
    table = trials(group_records(full_study))
    assert list(table.columns) == [*leaderboard_module.TRIAL_NAMES, "param_beta"]
    wanted = {
        (r.key, m.split, m.task, m.name): (m.value, r.spec.seed, r.cost.tokens) for r in full_study for m in r.metrics
    }
    found = {(r.run, r.split, r.task, r.metric): (r.value, r.seed, r.tokens) for r in table.itertuples()}
    assert found == wanted
    assert len(table) == len(wanted)


def test_trials_read_back_are_the_records_numbers_to_the_last_digit(full_study):
    shuffled = random.Random(0).sample(full_study, len(full_study))
    text = trials_text(group_records(full_study))
    assert trials_text(group_records(shuffled)) == text
    table = pandas.read_csv(io.StringIO(text), float_precision="round_trip")
    assert list(table.value) == [row.value for row in trials(group_records(full_study)).itertuples()]
    dpo = table[(table.objective == "dpo") & (table.metric == "target") & (table.split == "validation")]
    assert sorted(dpo.param_beta) == [0.03, 0.1, 0.3, 1.0, 3.0]
    assert [json.loads(text)["beta"] for text in dpo.params] == list(dpo.param_beta)


def test_a_run_without_numbers_has_a_row():
    lost = record(run_spec(beta=9.0), status="diverged").model_copy(update={"metrics": ()})
    table = trials(group_records([lost, record(run_spec())])).query("status == 'diverged'")
    assert list(table.param_beta) == [9.0]
    assert table[["task", "metric", "value"]].isna().all(axis=None)


OTHER = {**TUNING, "preset": "standard", "trials": 12}


def two_protocols():
    other = [r.model_copy(update={"tuning": OTHER}) for r in study(("dpo", "kto"), protocol="q" * 16)]
    return [*study(("dpo", "ipo")), *other]


@pytest.mark.parametrize("given", ["q" * 16, "qqqq", "standard"])
def test_one_protocol_is_named_by_its_hash_or_its_preset(given):
    assert [group.protocol for group in choose_groups(two_protocols(), protocol=given)] == ["q" * 16]
    assert set(leaderboard(two_protocols(), protocol=given).preset) == {"standard"}
    assert one_group(two_protocols(), protocol=given).objectives == ("dpo", "kto")


@pytest.mark.parametrize("given", ["nightly", "qqq", "", "pq"])
def test_an_unknown_protocol_is_refused_and_the_known_ones_are_told(given):
    with pytest.raises(UsageError, match=r"none of the protocols.*\n.*p{16} \(quick, sentiment\), q{16} \(standard"):
        choose_groups(two_protocols(), protocol=given)


def test_a_preset_of_two_protocols_names_neither():
    records = [r.model_copy(update={"tuning": TUNING}) for r in two_protocols()]
    with pytest.raises(UsageError, match="names 2 of the protocols"):
        choose_groups(records, protocol="quick")


def test_ranking_across_protocols_is_refused():
    with pytest.raises(UsageError, match="2 leaderboards, whose numbers do not compare"):
        one_group(two_protocols())
    with pytest.raises(UsageError, match="no finished runs"):
        one_group([])
    first, second = group_records(two_protocols())
    with pytest.raises(ValueError, match=r"holds records of q{16}"):
        replace(first, settings=first.settings + second.settings)


def test_records_of_one_protocol_agree_on_its_terms():
    records = study(("dpo",))
    with pytest.raises(RunError, match="differ in preset, trials"):
        group_records([*records[:-1], records[-1].model_copy(update={"tuning": OTHER})])


def test_the_terms_of_each_protocol_are_told():
    text = leaderboard_markdown([compare_group(group) for group in group_records(two_protocols())])
    terms = "preset standard · axes beta · 12 trials of each objective (grid) · 1 seed to choose · 3 seeds to report"
    assert f"{terms} · 60 steps · 960 pairs" in text
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(summary_table(choose_groups(two_protocols(), protocol="standard")))
    told = " ".join(console.export_text().split())
    assert "preset standard · axes beta · 12 trials" in told
    assert "preset quick" not in told


def test_only_the_formats_that_were_asked_for_are_written(tmp_path):
    write_records(tmp_path, two_protocols())
    paths = write_leaderboard(tmp_path, analysis=analyse_folder(tmp_path, protocol="standard"), formats=["tex"])
    assert paths.written == (tmp_path / "leaderboard.tex",)
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "leaderboard.tex"}
    assert "preset quick" not in paths.latex.read_text()
    with pytest.raises(UsageError, match="unknown format 'html'"):
        write_leaderboard(tmp_path, formats=["csv", "html"])
    assert {path.suffix for path in write_leaderboard(tmp_path).written} == {".csv", ".md", ".tex"}


def test_the_command_line_chooses_protocol_and_formats(tmp_path):
    write_records(tmp_path, two_protocols())
    chosen = ["leaderboard", "--out", str(tmp_path), "--protocol", "standard", "--format", "md, csv"]
    done = CliRunner().invoke(app, chosen)
    assert done.exit_code == 0, done.output
    assert set(pandas.read_csv(tmp_path / "leaderboard.csv").protocol) == {"q" * 16}
    assert (tmp_path / "leaderboard.md").read_text().count("\n## ") == 1
    assert not (tmp_path / "leaderboard.tex").exists()
    assert isinstance(CliRunner().invoke(app, [*chosen[:-1], "html"]).exception, UsageError)

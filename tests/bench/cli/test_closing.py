"""Last lines of a command: they name files that are there, and an export that works."""

import json
import re
import shlex

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.cli.closing import best_run, closing_lines
from bench.errors import UsageError
from bench.report.analysis.analysis import analyse_folder
from tests.bench.report.conftest import record, run_spec, start_records, study, write_records


def invoked(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_the_leaderboard_ends_with_verdict_page_and_export(tmp_path):
    write_records(tmp_path, study(("dpo", "ipo")))
    invoked("page", "--out", tmp_path)
    lines = invoked("leaderboard", "--out", tmp_path).splitlines()
    assert lines[-2:] == [f"open {tmp_path / 'report.html'}", f"bench export best --to my-model --out {tmp_path}"]
    run, sentence = best_run(tmp_path)
    assert run.spec.objective == "dpo"
    assert run.spec.seed == 100  # the first fresh seed, not the luckiest
    assert sentence in " ".join("\n".join(lines).split())


def test_a_folder_name_with_a_space_can_be_pasted(tmp_path):
    results = write_records(tmp_path / "my results", study(("dpo",)))
    (line,) = [one for one in closing_lines(analyse_folder(results), results) if one.startswith("bench export")]
    assert shlex.split(line)[-1] == str(results)


def test_of_two_tables_each_first_run_is_named_by_its_key_and_none_is_best(tmp_path):
    write_records(tmp_path, study(("dpo", "ipo")))
    other = [r.model_copy(update={"protocol": "q" * 16}) for r in study(("kto",)) if r.spec.objective != "start"]
    write_records(tmp_path, other)
    text = invoked("leaderboard", "--out", tmp_path)
    keys = re.findall(r"bench export run:(\w{8}) .*# (\w+) on sentiment", text)
    assert [name for _, name in keys] == ["dpo", "kto"]
    for key, _ in keys:
        assert len(list((tmp_path / "runs").glob(f"{key}*"))) == 1
    with pytest.raises(UsageError, match=r"2 tables.*\n.*run:"):
        best_run(tmp_path)
    one = invoked("leaderboard", "--out", tmp_path, "--protocol", "p" * 16)
    assert f"bench export run:{keys[0][0]}" in one
    assert "export best" not in one


def test_without_weights_no_export_is_offered(tmp_path):
    invoked("publish", tmp_path / "published", "--out", write_records(tmp_path / "a", study(("dpo",))))
    text = invoked("leaderboard", "--out", tmp_path / "published")
    assert "bench export" not in text
    assert f"open {tmp_path / 'published' / 'report.html'}" in text
    with pytest.raises(UsageError, match="weights of dpo"):
        best_run(tmp_path / "published")


def test_without_a_test_score_none_is_best(tmp_path):
    write_records(tmp_path, [*start_records(), record(run_spec())])
    with pytest.raises(UsageError, match="none is best"):
        best_run(tmp_path)


def test_the_terminal_shows_every_ranked_row_of_the_folder(tmp_path):
    records = study(("dpo", "ipo"))
    write_records(tmp_path, records)
    later = [r for r in study(("kto",)) if r.spec.objective != "start"]
    write_records(tmp_path, later)
    write_records(tmp_path, [r.model_copy(update={"protocol": "q" * 16}) for r in study(("simpo",))[2:]])
    text = invoked("leaderboard", "--out", tmp_path)
    starred = {line.split()[1] for line in text.splitlines() if line.startswith("★")}
    assert starred == {"dpo", "ipo", "kto", "simpo"}
    keys = {record.key[:8] for record in (*records, *later)}
    shown = set(re.findall(r"\b[0-9a-f]{8}\b", text))
    assert shown <= keys | {path.name[:8] for path in (tmp_path / "runs").iterdir()}
    assert len(shown) >= 4 + 1


@pytest.mark.parametrize("command", ["leaderboard", "figures", "page", "publish"])
def test_a_margin_is_an_option_of_every_report_and_of_no_key(tmp_path, command):
    write_records(tmp_path, study(("dpo", "ipo"), final_seeds=5))
    target = [tmp_path / "published"] if command == "publish" else []
    before = sorted((tmp_path / "runs").rglob("*"))
    small = ["--formats", "png"] if command == "figures" else []
    invoked(command, *target, "--out", tmp_path, "--margin", "50", *small)
    assert sorted((tmp_path / "runs").rglob("*")) == before
    folder = target[0] if target else tmp_path
    if command in ("leaderboard", "publish"):
        assert "equal to it within 50" in (folder / "leaderboard.md").read_text() or (
            "equal to dpo within 50" in (folder / "leaderboard.md").read_text()
        )
    if command in ("page", "publish"):
        assert "within 50" in (folder / "report.html").read_text()
    if command == "figures":
        assert ",equal," in (tmp_path / "figures" / "decision.csv").read_text()
    refused = CliRunner().invoke(app, [command, *map(str, target), "--out", str(tmp_path), "--margin", "0"])
    assert isinstance(refused.exception, UsageError)


def test_keys_of_runs_are_in_every_table(tmp_path):
    records = study(("dpo",))
    write_records(tmp_path, records)
    invoked("page", "--out", tmp_path)
    text = invoked("leaderboard", "--out", tmp_path)
    best = next(r for r in records if r.spec.objective == "dpo" and r.evaluation.split == "test")
    for content in (text, (tmp_path / "leaderboard.md").read_text(), (tmp_path / "report.html").read_text()):
        assert best.key[:8] in content
    rows = (tmp_path / "leaderboard.csv").read_text()
    for one in records:
        assert one.key in rows
    assert json.dumps(best.key)[1:-1] in rows

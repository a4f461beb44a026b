"""The suite chat with a strong judge of a part of the test prompts: what is asked, corrected, kept and written."""

import json

import numpy as np
import pytest

from bench.core.request import RunRequest
from bench.errors import UsageError
from bench.evaluate.judges.random_part import random_part
from bench.report.analysis.correction import correction_texts
from bench.report.analysis.settings import group_records
from bench.report.tables.leaderboard import write_leaderboard
from bench.runner.plan import make_plan
from bench.stats.prediction_powered import corrected_mean
from tests.bench.evaluate.judges.server import completion, serving
from tests.bench.suites.test_chat import BAD, GOOD, MODEL, SMALL, trained


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "prefs.jsonl"
    rows = [{"prompt": f"number {n} of these films is", "chosen": f" {GOOD}.", "rejected": f" {BAD}."}
            for n in range(240)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def request(tmp_path, data, *settings, strong, judges=("fitted",)):
    return RunRequest(
        losses=("dpo",), suite="chat", model=str(MODEL), data=(data,), judges=judges, strong=strong,
        settings=(*SMALL, "prompts=20", *settings), results=tmp_path / "results", workers=1,
    )  # fmt: skip


def by_length(body, number):
    """The longer answer is better."""
    text = body["messages"][-1]["content"]
    first, second = text.split("[[1]]")[1].split("[[2]]")
    return 200, completion("m" if len(first) >= len(second) else "M")


def test_the_strong_judge_sees_its_share_once_and_the_record_says_what_it_gained(tmp_path, data):
    (tmp_path / "pair.txt").write_text("{instruction}[[1]]{output_1}[[2]]{output_2}")
    with serving(by_length) as server:
        strong = tmp_path / "strong.toml"
        strong.write_text(
            f'kind = "api"\nname = "big"\nmodel = "m"\nurl = "{server.url}"\ntemplate = "pair.txt"\n'
            'answers = ["m", "M"]\n'
        )
        plan = make_plan(request(tmp_path, data, "strong_share=0.4", strong=str(strong)))
        chosen = trained(plan, "dpo", "validation")
        assert not server.bodies  # validation is the first judge's
        record = trained(plan, "dpo", "test")
        asked = len(server.bodies)
        assert 0 < asked <= 8
        other = trained(plan, "dpo", "test", seed=1)
    assert chosen.metric("win_rate", task="judge_big") is None
    prompts = plan.workspace.evaluator.judge_inputs["test"].instructions
    part = random_part(prompts, share=0.4, seed=record.evaluation.seed)
    shown = {body["messages"][-1]["content"].split("[[1]]")[0] for body in server.bodies}
    assert shown <= {text for text, is_chosen in zip(prompts, part, strict=True) if is_chosen}
    metrics = {m.name: m for m in record.metrics if m.task == "judge_big"}
    assert metrics["strong_verdicts"].value == part.sum() == 8
    assert metrics["win_rate"].n == 20
    assert {"ppi_lambda", "half_width", "half_width_alone", "win_rate_alone", "unjudged_share"} <= set(metrics)
    values = np.array(record.scores["judge_big"])
    assert 100 * values.mean() == pytest.approx(metrics["win_rate"].value)
    assert 100 * values.std(ddof=1) / np.sqrt(20) == pytest.approx(metrics["win_rate"].stderr, rel=1e-6)
    assert record.evaluation.strong.name == "big"
    assert record.evaluation.strong_share == 0.4
    assert [judge.name for judge in record.evaluation.judges] == ["fitted"]
    (group,) = group_records([record, other])
    (line,) = correction_texts(group)
    assert "judge big saw 8 of 20 test prompts" in line
    tables = write_leaderboard(tmp_path / "results")
    assert "judge big saw 8 of 20" in next(path for path in tables.written if path.suffix == ".md").read_text()


def test_a_strong_judge_is_part_of_the_evaluations_name_and_none_leaves_it_as_it_was(tmp_path, data):
    plain = make_plan(request(tmp_path, data, strong=None)).workspace.evaluation
    strong = make_plan(request(tmp_path, data, strong="gold")).workspace.evaluation
    assert "strong" not in plain.canonical()
    assert strong.digest() != plain.digest()
    share = make_plan(request(tmp_path, data, "strong_share=0.5", strong="gold")).workspace.evaluation
    assert share.digest() != strong.digest()


def test_with_all_prompts_the_corrected_rate_is_the_strong_judges_own(tmp_path, data):
    whole = trained(make_plan(request(tmp_path, data, "strong_share=1.0", strong="gold")), "dpo", "test")
    alone = trained(make_plan(request(tmp_path, data, strong=None, judges=("gold",))), "dpo", "test")
    for name in ("win_rate", "lc_win_rate"):
        mine, own = whole.metric(name, task="judge_gold"), alone.metric(name, task="judge")
        assert mine.value == pytest.approx(own.value, abs=1e-6)
    own = np.array(alone.scores["judge"])
    assert corrected_mean(own, own).interval.mean == pytest.approx(own.mean())


@pytest.mark.parametrize(
    ("strong", "judges", "settings", "message"),
    [
        ("fitted", ("fitted",), (), "two judges are called 'fitted'"),
        (None, ("fitted",), ("strong_share=0.5",), "there is no strong judge"),
        ("nobody", ("fitted",), (), "unknown judge 'nobody'"),
    ],
)
def test_what_cannot_correct_is_refused(tmp_path, data, strong, judges, settings, message):
    with pytest.raises(UsageError, match=message):
        make_plan(request(tmp_path, data, *settings, strong=strong, judges=judges))


def test_a_suite_with_a_reward_has_no_strong_judge(tmp_path):
    with pytest.raises(UsageError, match="--strong gold: suite sentiment has its own reward"):
        make_plan(RunRequest(losses=("dpo",), strong="gold", results=tmp_path / "results", workers=1))

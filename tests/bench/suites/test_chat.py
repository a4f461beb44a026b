"""The suite chat: a user's own model and data, judges, and what comes of them in records and tables."""

import csv
import json
import random
from pathlib import Path

import pytest

from bench.core.assets import SUITES
from bench.core.request import RunRequest
from bench.errors import UsageError
from bench.evaluate.tasks.prompts import Prompting
from bench.evaluate.tasks.score import evaluate_tasks
from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.settings import group_records
from bench.report.tables.leaderboard import write_leaderboard
from bench.runner.hooks import hooks_of
from bench.runner.keys import run_spec
from bench.runner.plan import make_plan
from bench.runner.pruning import rung_scorer
from bench.runner.reuse import as_measured
from bench.runner.run import run
from bench.suites.settings import get_suite
from bench.utils.stop_signals import Stop
from tests.bench.evaluate.judges.models import chat_model
from tests.bench.evaluate.tasks.documents import write_documents

MODEL = SUITES / "sentiment" / "model"
SMALL = ("train.steps=2", "train.max_length=64", "prompts=6", "tokens=6", "evaluation.pairs=8", "lr=1e-3")
GOOD, BAD = "a great film that i loved", "a boring film that i hated"


@pytest.fixture
def data(tmp_path) -> Path:
    draw = random.Random(0)
    path = tmp_path / "prefs.jsonl"
    rows = [
        {
            "prompt": f"number {n} of these films is",
            "chosen": f" {GOOD}{' ' * draw.randint(0, 2)}.",
            "rejected": f" {BAD}.",
        }
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def by_rate(tmp_path, data, *settings, **changes):
    return request(tmp_path, data, "evaluation.target=win_rate", *settings, **changes)


def request(tmp_path, data, *settings, judges=("fitted", "gold"), model=str(MODEL), prompts=None, losses=("dpo",)):
    return RunRequest(
        losses=losses, suite="chat", model=model, data=data and (data,), settings=(*SMALL, *settings),
        results=tmp_path / "results", workers=1, judges=judges, prompts=prompts,
    )  # fmt: skip


def trained(plan, objective, split, *, seed=0):
    search = next(each for each in plan.searches if each.objective.name == objective)
    spec = run_spec(plan.workspace, search.objective, search.objective.resolve({}), learning_rate=1e-3, seed=seed)
    hooks = hooks_of(plan, advance=lambda units, text: None, note=lambda text: None, stop=Stop())
    return run(plan.workspace, spec, split, hooks, tuning=plan.protocol)


def test_the_first_judge_chooses_by_its_length_controlled_rate_and_all_report_on_test_prompts(tmp_path, data):
    plan = make_plan(by_rate(tmp_path, data, losses=("dpo", "simpo")))
    chosen, reported = trained(plan, "dpo", "validation"), trained(plan, "dpo", "test")
    other = trained(plan, "simpo", "test")
    (group,) = group_records([reported, other])
    (agree,) = judges_agree(group)
    assert (agree.first, agree.second, agree.rows) == ("fitted", "gold", 2)
    assert "2 rows" in agreement_text(agree)
    for record in (chosen, reported):
        target, rate = record.metric("target"), record.metric("lc_win_rate", task="judge")
        assert target is not None
        assert rate is not None
        assert target.value == pytest.approx(rate.value)
        assert sum(record.scores["target"]) / 6 == pytest.approx(rate.value)
        assert record.metric("gold_reward") is not None  # the fitted judge scores
    assert chosen.metric("win_rate", task="judge_gold") is None
    assert reported.metric("win_rate", task="judge_gold") is not None
    assert len(reported.scores["judge_gold"]) == 6
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("runs/*/evals/*/record.json")]
    start = [each for each in records if each["spec"]["objective"] == "start"]
    worth = {
        (m["task"], m["split"]): m["value"]
        for each in start
        for m in each["metrics"]
        if m["name"] == "held_out_accuracy"
    }
    assert worth["judge", "test"] > 0.9
    assert worth["judge_gold", "test"] > 0.5
    tables = write_leaderboard(tmp_path / "results")
    rows = list(csv.DictReader(next(path for path in tables.written if path.suffix == ".csv").open()))
    assert {row["objective"] for row in rows} == {"start", "dpo", "simpo"}
    assert all(row["judge_gold_win_rate"] for row in rows)
    text = next(path for path in tables.written if path.suffix == ".md").read_text()
    assert "LC wins [%]" in text
    assert "by judge fitted" in text
    assert "judges fitted and gold: " in text


def test_a_judge_in_the_record_is_named_by_content_and_other_verdicts_are_another_protocol(tmp_path, data):
    one = make_plan(by_rate(tmp_path, data)).workspace.evaluation
    other = make_plan(by_rate(tmp_path, data, judges=("gold", "fitted"))).workspace.evaluation
    assert [judge.name for judge in one.judges] == ["fitted", "gold"]
    assert {judge.identity for judge in one.judges} == {judge.identity for judge in other.judges}
    assert one.digest() != other.digest()
    assert one.target == "win_rate"


def test_rewards_choose_where_the_first_judge_gives_them_and_wins_where_it_only_compares(tmp_path, data):
    model = str(chat_model(tmp_path / "model", context=2048))
    found = [
        make_plan(request(tmp_path, data, judges=judges, model=model)).workspace.evaluation.target
        for judges in (("fitted",), ("start", "fitted"))
    ]
    assert found == ["reward", "win_rate"]
    with pytest.raises(UsageError, match="judge start compares answers and gives none a reward"):
        make_plan(request(tmp_path, data, "evaluation.target=reward", judges=("start",), model=model))


def test_several_samples_of_a_prompt_are_refused_since_judges_see_one_answer(tmp_path, data):
    with pytest.raises(UsageError, match=r"evaluation\.samples=2: suite chat judges one answer"):
        make_plan(request(tmp_path, data, "evaluation.samples=2"))


def test_a_judge_whose_context_is_too_short_is_refused_before_anything_trains(tmp_path, data):
    with pytest.raises(UsageError, match=r"judge start: the longest prompt takes \d+ .* its context has 256"):
        make_plan(request(tmp_path, data, judges=("start",)))


def test_tasks_are_asked_by_the_template_that_training_uses_and_the_reason_is_printed(tmp_path, data, monkeypatch):
    monkeypatch.setenv("LOSSBENCH_EVAL_DATA", str(write_documents(tmp_path / "data", count=4)))
    model = str(chat_model(tmp_path / "model"))

    def planned(*settings, **changes):
        lines: list[str] = []
        made = make_plan(request(tmp_path, data, *settings, judges=("gold",), **changes), note=lines.append)
        return made.workspace, [line for line in lines if line.startswith("lm-eval tasks")]

    by_template, lines = planned("lm_eval=piqa_local", model=model)
    assert lines == [
        "lm-eval tasks: by the chat template, since suite chat trains by it (apply_chat_template=false for plain text)"
    ]
    assert by_template.evaluation.apply_chat_template is True
    plain, lines = planned("lm_eval=piqa_local", "apply_chat_template=false", model=model)
    assert lines == ["lm-eval tasks: as plain text, as requested"]
    assert "apply_chat_template" not in plain.evaluation.canonical()  # its key is as before
    assert "apply_chat_template" in by_template.evaluation.canonical()
    without, lines = planned("lm_eval=piqa_local")
    assert lines == []  # there is no choice
    assert without.evaluation.apply_chat_template is None
    as_text, _ = planned("lm_eval=piqa_local", "data.form=text", model=model)
    assert as_text.evaluation.apply_chat_template is None
    assert planned(model=model)[1] == []
    instructed, _ = planned("lm_eval=piqa_local", "system_instruction=Be brief.", model=model)
    assert instructed.tasks is not None
    (task,) = instructed.tasks.loaded["tasks"].values()
    assert all(request.args[0].startswith("Be brief.") for request in task.instances)
    with pytest.raises(UsageError, match="the model's tokenizer has no chat template"):
        planned("lm_eval=piqa_local", "apply_chat_template=true")


def test_a_run_that_trained_by_the_template_is_evaluated_by_it_later(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setenv("LOSSBENCH_EVAL_DATA", str(write_documents(tmp_path / "data", count=6)))
    model = str(chat_model(tmp_path / "model"))
    plan = make_plan(request(tmp_path, data, "lm_eval=piqa_local", judges=("gold",), model=model))
    record = trained(plan, "dpo", "test")
    kept = {m.name: m.value for m in record.metrics if m.task == "piqa_local"}
    for options, by_template in (({}, True), ({"prompting": Prompting(apply_chat_template=False)}, False)):
        evaluate_tasks(
            f"run:{record.key[:8]}",
            tasks=["piqa_local"],
            out=tmp_path / "again",
            results=tmp_path / "results",
            **options,
        )
        stored = json.loads((tmp_path / "again" / "tasks.json").read_text())
        assert stored["apply_chat_template"] is by_template
        assert ("--apply_chat_template" in stored["by_hand"]) is by_template
        if by_template:
            assert {row["metric"]: row["value"] for row in stored["results"]} == kept
    reasons = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lm-eval tasks")]
    assert [line.partition(",")[0] for line in reasons] == [
        "lm-eval tasks: by the chat template", "lm-eval tasks: as plain text"
    ]  # fmt: skip


def test_a_record_of_wins_becomes_one_of_rewards_without_measuring_again(tmp_path, data):
    by_wins = trained(make_plan(by_rate(tmp_path, data, judges=("fitted",))), "dpo", "validation")
    plan = make_plan(request(tmp_path, data, "evaluation.target=reward", judges=("fitted",)))
    again = as_measured(by_wins, plan.workspace.evaluation)
    fresh = make_plan(request(tmp_path / "other", data, "evaluation.target=reward", judges=("fitted",)))
    measured = trained(fresh, "dpo", "validation")
    assert again is not None
    assert again.scores["target"] == pytest.approx(measured.scores["target"], rel=1e-12)
    assert again.metric("target") == measured.metric("target")
    assert as_measured(measured, by_wins.evaluation) is None


def test_what_is_held_out_is_part_of_the_evaluations_name(tmp_path, data):
    lines = data.read_text().splitlines(keepends=True)
    more = tmp_path / "more.jsonl"
    more.write_text("".join([*lines, lines[0].replace("number 0", "number 99")]), encoding="utf-8")
    one, other = (make_plan(request(tmp_path, path)).workspace.evaluation for path in (data, more))
    assert one.content != other.content


def test_training_validation_and_test_share_no_prompt(tmp_path, data):
    workspace = make_plan(request(tmp_path, data)).workspace
    trained_on = {row.prompt_ids for row in workspace.data.rows}
    held = [set(workspace.prompts[split]) for split in ("validation", "test")]
    assert not trained_on & (held[0] | held[1])
    assert not held[0] & held[1]
    assert workspace.judge_inputs is not None
    assert all(text.startswith("number ") for text in workspace.judge_inputs["test"].instructions)


def test_instructions_of_a_file_are_reported_on_and_choose_nothing(tmp_path, data):
    prompts = tmp_path / "eval.json"
    prompts.write_text(json.dumps([{"instruction": f"what of film {n}"} for n in range(4)]), encoding="utf-8")
    asked = make_plan(request(tmp_path, data, prompts=prompts)).workspace.judge_inputs
    assert asked is not None
    assert asked["test"].instructions == tuple(f"what of film {n}" for n in range(4))
    assert all(text.startswith("number ") for text in asked["validation"].instructions)


def test_test_prompts_that_were_trained_on_are_told(tmp_path, data):
    trained_on = [json.loads(line)["prompt"] for line in data.read_text().splitlines()]
    prompts = tmp_path / "eval.json"
    prompts.write_text(json.dumps([{"instruction": text} for text in (*trained_on, "another one")]), encoding="utf-8")
    notes: list[str] = []
    make_plan(request(tmp_path, data, prompts=prompts), note=notes.append)
    (said,) = [note for note in notes if note.startswith("contamination")]
    assert said.startswith("contamination: of 61 test prompts 48 are training prompts, 48 mostly so")


def test_a_rung_is_scored_by_the_win_rate_on_fewer_prompts(tmp_path, data):
    plan = make_plan(by_rate(tmp_path, data))
    spec = run_spec(
        plan.workspace, plan.searches[0].objective, plan.searches[0].objective.resolve({}), learning_rate=1e-3, seed=0
    )
    score = rung_scorer(plan.workspace, spec)
    assert score(plan.workspace.start_model) == 50.0  # every answer ties with itself


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "suite chat has no model of its own"),
        ({"data": None}, "suite chat has no preferences of its own"),
        ({"judges": ("fitted", "fitted")}, "two judges are called 'fitted'"),
        ({"judges": ("fited",)}, "--judge: unknown judge 'fited'"),
    ],
)
def test_what_is_missing_or_wrong_is_refused_before_anything_trains(changes, message, tmp_path, data):
    with pytest.raises(UsageError, match=message):
        make_plan(request(**{"tmp_path": tmp_path, "data": data, **changes}))


def test_judges_and_prompts_are_refused_by_a_suite_with_its_own(tmp_path, data):
    for changes in ({"judges": ("gold",)}, {"judges": (), "prompts": data}):
        bare = {"suite": "sentiment", "model": None, "data": None, "settings": ()}
        changed = request(tmp_path, data).changed({**bare, **changes})
        with pytest.raises(UsageError, match="suite sentiment has its own reward and prompts"):
            make_plan(changed)


def test_lora_is_the_suites_own_and_can_be_turned_off_or_changed(tmp_path, data):
    assert get_suite("chat").train.lora is not None
    found = [
        make_plan(request(tmp_path, data, *settings)).workspace.train.lora
        for settings in ((), ("train.lora=false",), ("lora.rank=2",))
    ]
    assert [lora and (lora.rank, lora.alpha) for lora in found] == [(16, 32.0), None, (2, 32.0)]

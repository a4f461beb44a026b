"""A judge asked again: one that repeats itself, one that sees places alone, and one that throws a coin."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from bench.cli.evaluate_options import Evaluation
from bench.cli.judges_ask import agree_command, retest_command
from bench.errors import UsageError
from bench.evaluate.judges.answers import in_order
from bench.evaluate.judges.factory import judges_of
from bench.evaluate.judges.retest import retest
from tests.bench.evaluate.judges.server import completion, serving

QUESTIONS = 40


def pairs():
    texts = [f"number {n}" for n in range(QUESTIONS)]
    return in_order(texts, [f"a{'b' * (n % 7)}" for n in range(QUESTIONS)],
                    [f"c{'d' * (n % 5)}" for n in range(QUESTIONS)], model="mine", baseline="base")  # fmt: skip


def judge_at(server, folder):
    (folder / "pair.txt").write_text("{instruction}[[1]]{output_1}[[2]]{output_2}")
    path = folder / "api.toml"
    path.write_text(
        f'kind = "api"\nname = "asked"\nmodel = "m"\nurl = "{server.url}"\ntemplate = "pair.txt"\n'
        'answers = ["m", "M"]\nconcurrency = 1\n'
    )
    return str(path)


def by_content(body, number):
    first, second = body["messages"][-1]["content"].split("[[1]]")[1].split("[[2]]")
    return 200, completion("m" if first > second else "M")


def by_place(body, number):
    return 200, completion("m")


def by_coin(body, number):
    return 200, completion(random.Random(number).choice("mM"))


@pytest.mark.parametrize(
    ("answer", "again", "swapped", "first"),
    [(by_content, (1.0, 1.0), (1.0, 1.0), (45, 55)), (by_place, (1.0, 1.0), (0.0, 0.0), (100, 100)),
     (by_coin, (0.2, 0.8), (0.2, 0.8), (30, 70))],
)  # fmt: skip
def test_a_judge_of_content_of_place_and_of_neither_are_told_apart(tmp_path, answer, again, swapped, first):
    with serving(answer) as server:
        (judge,) = judges_of([judge_at(server, tmp_path)])
        result = retest(judge, pairs(), cache=tmp_path / "verdicts")
        assert len(server.bodies) == 3 * QUESTIONS
        repeated = retest(judge, pairs(), cache=tmp_path / "verdicts")
        assert len(server.bodies) == 3 * QUESTIONS  # resumed from the cache: nothing is asked again
    assert repeated == result or str(repeated) == str(result)
    assert again[0] <= result.again.same.value <= again[1]
    assert swapped[0] <= result.swapped.same.value <= swapped[1]
    assert first[0] <= result.bias.first <= first[1]
    assert result.again_shift == pytest.approx(1.0 - result.again.same.value)
    assert result.questions == QUESTIONS


def test_a_judge_that_sees_no_order_repeats_itself_in_both_orders():
    (judge,) = judges_of(["gold"])
    result = retest(judge, pairs())
    assert (result.swapped.same.value, result.again.same.value) == (1.0, 1.0)
    assert (result.swapped_shift, result.again_shift) == (0.0, 0.0)


def files(folder):
    written = {}
    for name, texts in (("base", pairs().references), ("mine", pairs().outputs)):
        records = [{"instruction": f"number {n}", "output": text, "generator": name} for n, text in enumerate(texts)]
        written[name] = folder / f"{name}.json"
        written[name].write_text(json.dumps(records))
    return {"baseline": written["base"], "outputs": (written["mine"],), "out": folder / "out"}


def test_the_command_tells_the_cost_asks_a_part_and_writes_a_table(tmp_path, capsys):
    with serving(by_place) as server:
        request = Evaluation(judges=(judge_at(server, tmp_path),), dry_run=True, **files(tmp_path))
        retest_command(request, share=0.25)
        assert not server.bodies
        assert "30 requests" in capsys.readouterr().out
        retest_command(Evaluation(judges=request.judges, **files(tmp_path)), share=0.25)
        assert len(server.bodies) == 30
    row = pd.read_csv(tmp_path / "out" / "retest.csv").iloc[0]
    assert (row["questions"], row["again_same"], row["swapped_same"], row["first_wins"]) == (10, 1.0, 0.0, 100.0)
    with pytest.raises(UsageError, match="no judge to test"):
        retest_command(Evaluation(**files(tmp_path)), share=1.0)


def votes(folder, *, people=("mary", "john"), noise=0.1):
    """People vote for the longer answer, and err now and then; some ties."""
    rng, rows = np.random.default_rng(0), []
    for person in people:
        for n, (text, other) in enumerate(zip(pairs().outputs, pairs().references, strict=True)):
            vote = 1.5 if len(text) == len(other) else 1.0 + float((len(text) > len(other)) != (rng.random() < noise))
            rows.append({"instruction": f"number {n}", "output_1": other, "output_2": text, "model": "mine",
                         "preference": vote, "annotator": person})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "votes.csv", index=False)
    return folder / "votes.csv"


def test_people_judges_and_stored_judgements_are_compared_pair_by_pair(tmp_path, capsys):
    def by_length(body, number):
        first, second = body["messages"][-1]["content"].split("[[1]]")[1].split("[[2]]")
        return 200, completion("m" if len(first) > len(second) else "M")

    path = votes(tmp_path)
    with serving(by_length) as server:
        request = Evaluation(judges=(judge_at(server, tmp_path), "gold"), out=tmp_path / "out")
        agree_command(path, request)
        assert len(server.bodies) == QUESTIONS  # a pair that two people saw is asked once
    table = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index(["first", "second"])
    assert {("asked", "mary"), ("asked", "john"), ("asked", "people (mean)"), ("mary", "john")} <= set(table.index)
    with_mary = table.loc[("asked", "mary")]
    assert with_mary["same"] > 0.8
    assert with_mary["same_low"] < with_mary["same"] < with_mary["same_high"]
    assert with_mary["pairs"] == QUESTIONS
    assert with_mary["decided"] < QUESTIONS  # ties of mary
    assert table.loc[("gold", "mary")]["kappa"] < with_mary["kappa"]
    assert "who agrees with whom" in capsys.readouterr().out
    stored = pd.read_csv(path)
    stored[stored["annotator"] == "mary"].assign(annotator="judge").to_csv(tmp_path / "judge.csv", index=False)
    agree_command(path, Evaluation(judgements=(tmp_path / "judge.csv",), out=tmp_path / "again"))
    again = pd.read_csv(tmp_path / "again" / "agreement.csv").set_index(["first", "second"])
    assert again.loc[("judge", "mary")]["kappa"] == 1.0


@pytest.mark.parametrize(
    ("change", "judges", "message"),
    [
        ({"annotator": "mary"}, (), "nobody to compare with"),
        ({"output_1": None}, ("gold",), "row 1 lacks a text"),
        ({"annotator": "gold"}, ("gold",), "both called 'gold'"),
    ],
)
def test_votes_that_cannot_be_compared_are_refused(tmp_path, change, judges, message):
    path = votes(tmp_path, people=("mary",))
    pd.read_csv(path).assign(**change).to_csv(path, index=False)
    with pytest.raises(UsageError, match=message):
        agree_command(path, Evaluation(judges=judges, out=tmp_path / "out"))


def test_votes_without_texts_are_compared_by_number_and_no_judge_can_be_asked(tmp_path):
    table = pd.read_csv(votes(tmp_path))
    table = table.assign(index=table["instruction"].str.split().str[1]).drop(
        columns=["instruction", "output_1", "output_2"]
    )
    table.to_csv(tmp_path / "numbers.csv", index=False)
    agree_command(tmp_path / "numbers.csv", Evaluation(out=tmp_path / "out"))
    (row,) = pd.read_csv(tmp_path / "out" / "agreement.csv").query("first == 'mary'").to_dict("records")
    assert row["pairs"] == QUESTIONS
    with pytest.raises(UsageError, match="a judge needs the texts"):
        agree_command(tmp_path / "numbers.csv", Evaluation(judges=("gold",), out=tmp_path / "out"))

"""A cheap judge corrected by a strong one's random part: files, the part, what is refused, and asking both at once."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from bench.cli.evaluate_command import evaluate_command
from bench.cli.evaluate_options import Evaluation
from bench.cli.judges_correct import correct_command, draw_command
from bench.errors import UsageError
from bench.evaluate.judges.correction import corrected_rates
from bench.evaluate.judges.judgements import read_judgements
from bench.evaluate.judges.random_part import random_part
from bench.stats.prediction_powered import corrected_mean
from tests.bench.evaluate.judges.data import judgements
from tests.bench.evaluate.judges.server import completion, serving


def two_judges(folder, *, models=("a", "b"), questions=200):
    """Write a cheap judge's judgements of everything, and a strong judge's, of which ``part`` is to be taken."""
    strong = pd.concat([judgements(model=model, seed=k, level=0.3 + 0.3 * k, judge="strong", questions=questions)
                        for k, model in enumerate(models)])  # fmt: skip
    noise = np.random.default_rng(9).normal(0, 0.25, len(strong))
    cheap = strong.assign(annotator="cheap", preference=np.clip(strong["preference"] + noise - 0.1, 1, 2))
    cheap.to_csv(folder / "cheap.csv", index=False)
    strong.to_csv(folder / "strong.csv", index=False)
    return cheap, strong


def part_of(folder, strong, *, share=0.3, seed=0):
    draw_command(folder / "cheap.csv", out=folder / "part.csv", share=share, seed=seed, judge="mary")
    part = pd.read_csv(folder / "part.csv").drop(columns="preference")
    part.merge(strong[["generator_2", "index", "preference"]]).to_csv(folder / "part.csv", index=False)
    return folder / "part.csv"


def test_the_part_depends_on_seed_and_questions_alone_and_grows():
    questions = [f"question {n}" for n in range(100)]
    part = random_part(questions, share=0.2, seed=0)
    assert part.sum() == 20
    back = random_part(questions[::-1], share=0.2, seed=0)[::-1]
    assert np.array_equal(part, back)
    larger = random_part(questions, share=0.5, seed=0)
    assert larger.sum() == 50
    assert (larger | ~part).all()
    assert not np.array_equal(part, random_part(questions, share=0.2, seed=1))
    assert random_part(["same"] * 10, share=0.3, seed=0).sum() == 3
    assert random_part(questions[:3], share=0.01, seed=0).sum() == 2
    counts = sum(random_part(questions, share=0.2, seed=seed).astype(int) for seed in range(500))
    assert counts.sum() == 500 * 20
    assert np.square(counts - 100).mean() == pytest.approx(500 * 0.2 * 0.8, rel=0.4)  # binomial, each question alike
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(UsageError, match="above 0, up to 1"):
            random_part(questions, share=share, seed=0)


def test_drawn_filled_in_and_corrected_the_rate_is_that_of_the_formula(tmp_path, capsys):
    cheap, strong = two_judges(tmp_path)
    path = part_of(tmp_path, strong)
    part = pd.read_csv(path)
    assert part.groupby("generator_2")["index"].agg(tuple).nunique() == 1  # the same questions of both
    assert set(part["annotator"]) == {"mary"}
    correct_command(tmp_path / "cheap.csv", path, half=4.0, out=tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "corrected.csv").set_index("model")
    for model in ("a", "b"):
        mine = cheap[cheap["generator_2"] == model]["preference"].to_numpy() - 1
        known = np.full(200, np.nan)
        rows = part[part["generator_2"] == model]
        known[rows["index"]] = np.where(rows["preference"] == 0, 1.5, rows["preference"]) - 1
        done = corrected_mean(known, mine)
        row = table.loc[model]
        assert row["win_rate"] == pytest.approx(100 * done.interval.mean)
        assert (row["low"], row["high"]) == pytest.approx((100 * done.interval.low, 100 * done.interval.high))
        assert row["strong_rate"] == pytest.approx(100 * np.nanmean(known))
        assert row["ppi_lambda"] == pytest.approx(done.weight)
        assert (row["strong_verdicts"], row["questions"]) == (60, 200)
        assert row["high"] - row["low"] < row["strong_high"] - row["strong_low"]
        assert row["worth"] > 60
        assert row["these_high"] - row["these_low"] < row["high"] - row["low"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "minus each other one, paired" in printed
    assert "takes" in printed


def test_drawing_writes_over_nothing_and_keeps_texts_without_verdicts(tmp_path):
    records = [{"instruction": f"q{n}", "output_1": "x", "output_2": "y", "generator_1": "base", "generator_2": "mine",
                "annotator": judge, "preference": 1.25, "verdicts": {"model": {}}}
               for judge in ("x", "y") for n in range(10)]  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps(records))
    draw_command(tmp_path / "annotations.json", out=tmp_path / "part.csv", share=0.5, seed=0, judge="person")
    part = pd.read_csv(tmp_path / "part.csv")
    assert len(part) == 5  # two judges' rows of a pair are one
    assert part["preference"].isna().all()
    assert {"instruction", "output_1", "output_2"} <= set(part)
    assert "verdicts" not in part
    with pytest.raises(UsageError, match="exists"):
        draw_command(tmp_path / "annotations.json", out=tmp_path / "part.csv", share=0.5, seed=0, judge="person")


def test_a_part_that_is_not_random_is_reported(tmp_path):
    cheap, strong = two_judges(tmp_path, models=("a",))
    strong[strong["index"] < 40].to_csv(tmp_path / "first.csv", index=False)
    _, _, notes = corrected_rates(read_judgements(tmp_path / "cheap.csv"), read_judgements(tmp_path / "first.csv"))
    assert any("stand together at one end" in note for note in notes)
    easy = cheap.sort_values("preference")["index"][-40:]
    strong[strong["index"].isin(easy)].to_csv(tmp_path / "easy.csv", index=False)
    _, _, notes = corrected_rates(read_judgements(tmp_path / "cheap.csv"), read_judgements(tmp_path / "easy.csv"))
    assert any("standard errors from" in note for note in notes)
    _, _, notes = corrected_rates(
        read_judgements(tmp_path / "cheap.csv"), read_judgements(part_of(tmp_path, strong, share=0.2))
    )
    assert notes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotator": ["x", "y"] * 100}, "the strong side has 2 judges"),
        ({"generator_2": "other"}, "no model in common"),
        ({"generator_1": "another base"}, "cheap judged it beside base, strong beside another base"),
        ({"preference": [1.25] + [math.nan] * 199}, "strong has 1 verdicts"),
        ({"index": range(1000, 1200)}, "200 of 200 questions of strong have no verdict of cheap"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, change, message):
    _, strong = two_judges(tmp_path, models=("a",))
    strong.assign(**change).to_csv(tmp_path / "strong.csv", index=False)
    with pytest.raises(UsageError, match=message):
        correct_command(tmp_path / "cheap.csv", tmp_path / "strong.csv", half=None, out=tmp_path / "out.csv")


def test_options_that_cannot_be_right_are_refused(tmp_path):
    two_judges(tmp_path)
    for half, message in ((0.0, "--half-width"), (-1.0, "--half-width")):
        with pytest.raises(UsageError, match=message):
            correct_command(tmp_path / "cheap.csv", tmp_path / "strong.csv", half=half, out=tmp_path / "out.csv")
    with pytest.raises(UsageError, match="both the cheap and the strong side"):
        correct_command(tmp_path / "cheap.csv", tmp_path / "cheap.csv", half=None, out=tmp_path / "out.csv")
    for request in (Evaluation(strong="gold"), Evaluation(strong="gold", judges=("gold",), mt_bench=True)):
        with pytest.raises(UsageError, match="--strong corrects a judge"):
            evaluate_command(request)


def write_answers(folder, name, texts):
    records = [{"instruction": f"Film {n} was", "output": text, "generator": name} for n, text in enumerate(texts)]
    (folder / f"{name}.json").write_text(json.dumps(records))
    return folder / f"{name}.json"


def test_one_command_asks_the_strong_judge_about_its_part_alone_and_corrects(tmp_path, capsys):
    rng = np.random.default_rng(0)
    good, bad = " a wonderful and great film", " an awful and boring waste"
    base = write_answers(tmp_path, "base", [good if rng.random() < 0.5 else bad for _ in range(60)])
    mine = write_answers(tmp_path, "mine", [f"{good if rng.random() < 0.6 else bad} {n}" for n in range(60)])

    def answer(body, number):
        text = body["messages"][-1]["content"]
        first, second = text.split("[[1]]")[1].split("[[2]]")
        return 200, completion("m" if ("great" in first, len(first)) >= ("great" in second, len(second)) else "M")

    (tmp_path / "pair.txt").write_text("{instruction}[[1]]{output_1}[[2]]{output_2}")
    with serving(answer) as server:
        (tmp_path / "big.toml").write_text(
            f'kind = "api"\nname = "big"\nmodel = "m"\nurl = "{server.url}"\ntemplate = "pair.txt"\n'
            'answers = ["m", "M"]\nprice_in = 1.0\nprice_out = 1.0\n'
        )
        request = Evaluation(
            judges=("gold",), strong=str(tmp_path / "big.toml"), strong_share=0.25, outputs=(mine,), baseline=base,
            out=tmp_path / "out",
        )  # fmt: skip
        evaluate_command(request)
        assert len(server.bodies) == 15
        assert "15 requests" in capsys.readouterr().out
        first = (tmp_path / "out" / "corrected.csv").read_text()
        evaluate_command(request)
        assert len(server.bodies) == 15  # every verdict was kept
        assert (tmp_path / "out" / "corrected.csv").read_text() == first
    table = pd.read_csv(tmp_path / "out" / "corrected.csv").iloc[0]
    assert (table["strong_verdicts"], table["questions"]) == (15, 60)
    assert (table["strong_judge"], table["cheap_judge"]) == ("big", "gold")
    rates = pd.read_csv(tmp_path / "out" / "judgements.csv")
    assert list(rates["judge"]) == ["gold"]  # a part is no table of its own
    annotations = pd.DataFrame(json.loads((tmp_path / "out" / "annotations.json").read_text()))
    assert dict(annotations.groupby("annotator").size()) == {"gold": 60, "big": 15}
    # the stored annotations say the same to `bench judges correct`
    for name in ("gold", "big"):
        rows = annotations[annotations["annotator"] == name]
        rows.to_json(tmp_path / f"{name}.json", orient="records")
    correct_command(tmp_path / "gold.json", tmp_path / "big.json", half=None, out=tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == first

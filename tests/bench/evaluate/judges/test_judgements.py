"""Stored judgements: what is read, what is refused, and the win rates of both."""

import gzip
import json
import math

import numpy as np
import pandas as pd
import pytest

from bench.cli.evaluate_judgements import evaluate_judgements, unique_names
from bench.errors import UsageError
from bench.evaluate.judges.judgements import read_judgements
from bench.evaluate.judges.win_rate_table import win_rates
from tests.bench.evaluate.judges.data import judgements


def read(folder, table, name="judgements.csv"):
    path = folder / name
    table.to_csv(path, index=False)
    (judged,) = read_judgements(path)
    return judged


def row_of(judged):
    (row,), notes = win_rates([judged], control=None)
    return row, notes


def test_the_win_rate_and_its_error_are_those_of_alpaca_eval(tmp_path):
    from bench.utils.isolation import quiet

    table = judgements(questions=200)
    table.loc[[3, 70, 71], "preference"] = [math.nan, 0.0, 1.5]
    row, _ = row_of(read(tmp_path, table))
    with quiet():
        from alpaca_eval.metrics import get_winrate

        official = get_winrate(table)
    assert row.win_rate == pytest.approx(official["win_rate"], abs=1e-10)
    assert row.standard_error == pytest.approx(official["standard_error"], abs=1e-10)
    assert (row.n, row.wins, row.ties) == (official["n_total"], official["n_wins"], official["n_draws"])
    assert (row.missing, row.avg_length) == (1, pytest.approx(table["len_output_2"].mean()))


def test_csv_gzip_json_and_json_lines_say_the_same(tmp_path):
    table = judgements()
    records = table.to_dict("records")
    (tmp_path / "a.csv").write_text(table.to_csv(index=False))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table.to_csv(index=False).encode()))
    (tmp_path / "a.json").write_text(json.dumps(records))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = [row_of(read_judgements(tmp_path / name)[0])[0] for name in ("a.csv", "a.csv.gz", "a.json", "a.jsonl")]
    assert rows[1:] == rows[:1] * 3


def test_texts_give_the_lengths_that_columns_of_lengths_would(tmp_path):
    table = judgements()
    texts = table.drop(columns=["len_output_1", "len_output_2"]).assign(
        output_1=["é" * n for n in table["len_output_1"]], output_2=["€" * n for n in table["len_output_2"]]
    )
    judged, plain = read(tmp_path, texts), read(tmp_path, table)
    assert np.array_equal(judged.lengths, plain.lengths)
    assert np.array_equal(judged.baseline_lengths, plain.baseline_lengths)


def test_the_order_of_the_rows_changes_nothing(tmp_path):
    table = judgements()
    there = read(tmp_path, table)
    back = read(tmp_path, table.sample(frac=1, random_state=3))
    assert np.array_equal(there.preferences, back.preferences)
    assert np.array_equal(there.lengths, back.lengths)


def test_a_missing_judgement_is_reported_and_counts_nowhere(tmp_path):
    table = judgements(questions=10)
    table.loc[4:6, "preference"] = math.nan
    table.loc[7, "preference"] = -1.0  # off the scale: alpaca-eval leaves it out too
    row, notes = row_of(read(tmp_path, table))
    assert (row.n, row.missing) == (6, 4)
    assert row.win_rate == pytest.approx(100 * (table["preference"].drop([4, 5, 6, 7]) - 1).mean())
    assert any("4 of 10" in note for note in notes)


def test_without_any_judgement_there_is_no_win_rate_and_no_failure(tmp_path):
    row, _ = row_of(read(tmp_path, judgements(preference=math.nan)))
    assert (row.n, row.missing) == (0, 60)
    assert math.isnan(row.win_rate)
    assert math.isnan(row.standard_error)


def test_a_repeated_row_counts_once_and_is_reported(tmp_path):
    table = judgements()
    row, notes = row_of(read(tmp_path, pd.concat([table, table.iloc[5:9]])))
    assert row == row_of(read(tmp_path, table))[0]
    assert any("4 rows" in note for note in notes)


def test_two_judgements_of_one_question_are_refused(tmp_path):
    table = judgements()
    with pytest.raises(UsageError, match=r"question 5 has two judgements.*\n.*annotator"):
        read(tmp_path, pd.concat([table, table.iloc[5:6].assign(preference=1.25)]))
    texts = table.drop(columns="index").assign(instruction=[f"question {n}" for n in range(len(table))])
    with pytest.raises(UsageError, match="two judgements"):
        read(tmp_path, pd.concat([texts, texts.iloc[5:6].assign(preference=1.25)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": 0.37}, "off the scale"),
        ({"preference": "better"}, "not a number"),
        ({"index": 0.5}, "not a whole number"),
        ({"index": -1}, "not a whole number"),
        ({"generator_1": ["a", "b"] * 30}, "2 baselines"),
        ({"generator_2": [None] + ["mine"] * 59}, "row 1 has no generator_2"),
        ({"len_output_2": "long"}, "not a number"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_reason(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, judgements(**change))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "cannot be read"),
        ("cut.csv.gz", gzip.compress(b"model,preference\n" * 99)[:20], "damaged"),
        ("empty.csv", b"", "not a CSV table"),
        ("headless.csv", b"model,preference\n", "no rows"),
        ("other.csv", b"a,b\n1,2\n", "needs the columns"),
        ("broken.json", b"[{", "not JSON"),
        ("list.json", b"[1, 2]", "not a list of records"),
        ("binary.csv", b"\xff\xfe\x00", "damaged"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_judgements(tmp_path / name)


def test_several_models_and_judges_in_one_file_are_kept_apart(tmp_path):
    tables = [judgements(model=model, judge=judge) for judge in ("x", "y") for model in ("a", "b", "c")]
    pd.concat(tables).to_csv(tmp_path / "all.csv", index=False)
    tables = unique_names([tmp_path / "all.csv"])
    assert [(judged.judge, judged.model) for judged in tables] == [(j, m) for j in "xy" for m in "abc"]


def test_one_judge_in_two_files_is_two_judges(tmp_path):
    for name in ("a.csv", "b.csv"):
        judgements().to_csv(tmp_path / name, index=False)
    tables = unique_names([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert len({judged.judge for judged in tables}) == 2
    with pytest.raises(UsageError, match="twice"):
        unique_names([tmp_path / "a.csv", tmp_path / "a.csv"])


def test_the_table_on_disk_has_every_digit_and_is_the_same_each_time(tmp_path):
    table = judgements()
    table.to_csv(tmp_path / "j.csv", index=False)
    for name in ("once.csv", "again.csv"):
        evaluate_judgements(
            [tmp_path / "j.csv"], difficulty=None, gamed=None, by_index=False, out=tmp_path / "new" / name
        )
    assert (tmp_path / "new/once.csv").read_bytes() == (tmp_path / "new/again.csv").read_bytes()
    written = pd.read_csv(tmp_path / "new/once.csv")
    assert list(written)[:6] == [
        *("model", "n", "win_rate", "standard_error", "length_controlled_winrate", "avg_length"),
    ]
    assert written["win_rate"].item() == pytest.approx(100 * (table["preference"] - 1).mean(), abs=1e-12)
    assert math.isnan(written["length_controlled_winrate"].item())

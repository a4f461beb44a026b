"""Length control: alpaca-eval's own number from local files, and AlpacaEval's published leaderboard."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bench.cli.evaluate_judgements import evaluate_judgements, length_control_of
from bench.errors import UsageError
from bench.evaluate.judges.judgements import read_judgements
from bench.evaluate.judges.length_control import length_controlled, read_length_control
from bench.evaluate.judges.win_rate_table import win_rates
from tests.bench.evaluate.judges.data import alpaca_eval_data, judgements, length_control

OFFICIAL = """
import json, sys, pandas as pd
from alpaca_eval.metrics import get_length_controlled_winrate
for path in sys.argv[1:]:
    table = pd.read_json(path)
    found = get_length_controlled_winrate(table, save_weights_dir=None)
    print(json.dumps({name: float(found[name]) for name in ("length_controlled_winrate", "lc_standard_error")}))
"""


def in_hub_cache(home, files):
    """Lay the files where alpaca-eval looks for what it downloaded before; ``home`` is for HF_HOME."""
    stored = home / "hub" / "datasets--tatsu-lab--alpaca_eval"
    snapshot = stored / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0" * 40)
    for path in files:
        (snapshot / path.name).write_bytes(path.read_bytes())
    return home


def with_texts(table):
    """The same judgements as alpaca-eval keeps them: with texts, without numbers of questions."""
    texts = {f"output_{side}": ["x" * n for n in table[f"len_output_{side}"]] for side in (1, 2)}
    return table.drop(columns=["index", "len_output_1", "len_output_2"]).assign(**texts)


def test_the_number_is_the_one_of_alpaca_evals_own_entry_function(tmp_path):
    files = length_control(tmp_path)
    few = judgements(model="few", questions=41, seed=5)
    holes = judgements(model="holes", seed=6)
    holes.loc[[2, 30], "preference"] = math.nan
    stored = []
    for number, table in enumerate((judgements(), few, holes)):
        stored.append(tmp_path / f"{number}.json")
        stored[-1].write_text(with_texts(table).to_json(orient="records"))
    home = in_hub_cache(tmp_path / "home", files)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OFFICIAL, *map(str, stored)],
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    official = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    control = read_length_control(*files)
    ours = [length_controlled(read_judgements(path)[0], control) for path in stored]
    assert len(official) == 3
    for mine, theirs in zip(ours, official, strict=True):
        assert mine.rate == pytest.approx(theirs["length_controlled_winrate"], abs=1e-10)
        assert mine.stderr == pytest.approx(theirs["lc_standard_error"], abs=1e-10)


def test_the_published_leaderboard_comes_out(tmp_path):
    data = alpaca_eval_data()
    evaluate_judgements(
        [data / "judgements.csv.gz"],
        difficulty=data / "instruction_difficulty.reconstructed.csv",
        gamed=data / "df_gamed.reconstructed.csv",
        by_index=False,
        out=tmp_path / "table.csv",
    )
    ours = pd.read_csv(tmp_path / "table.csv", index_col="model")
    board = data / "leaderboards" / "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    published = pd.read_csv(board, index_col=0).loc[ours.index]
    assert len(ours) >= 15
    assert (ours["win_rate"] - published["win_rate"]).abs().max() < 1e-6
    assert (ours["standard_error"] - published["standard_error"]).abs().max() < 1e-6
    assert (ours["n"] == published["n_total"]).all()
    assert (ours["length_controlled_winrate"] - published["length_controlled_winrate"]).abs().max() < 0.35


@pytest.fixture
def control(tmp_path):
    return read_length_control(*length_control(tmp_path))


def read(folder, table):
    table.to_csv(folder / "judgements.csv", index=False)
    return read_judgements(folder / "judgements.csv")[0]


def test_length_control_takes_away_what_length_alone_earned(tmp_path, control):
    table = judgements()
    longer = table["len_output_1"] + np.arange(60) * 40 - 300  # longer on the whole, and it wins where it is longer
    won = np.where(longer > table["len_output_1"] + 300, 1.9, 1.2)
    stored = read(tmp_path, table.assign(len_output_2=longer, preference=won))
    assert 100 * stored.preferences.mean() - length_controlled(stored, control).rate > 5


def test_position_and_number_differ_only_where_questions_are_absent(tmp_path, control):
    whole = read(tmp_path, judgements())
    assert length_controlled(whole, control) == length_controlled(whole, control, by_index=True)
    holed = read(tmp_path, judgements().drop(index=[3, 20, 21]))
    assert length_controlled(holed, control) != length_controlled(holed, control, by_index=True)
    assert any("--join" in note for note in win_rates([holed], control=control)[1])
    assert not win_rates([whole], control=None)[1]
    assert not win_rates([holed], control=None, lengths_alone=True)[1]


def test_nothing_to_control_and_few_rows_still_give_a_number(tmp_path, control):
    alike = read(tmp_path, judgements(len_output_1=100, len_output_2=100))
    one = read(tmp_path, judgements(questions=1))
    certain = read(tmp_path, judgements(preference=2.0))
    for case in (alike, one, certain):
        assert 0 < length_controlled(case, control).rate < 100
    assert math.isnan(length_controlled(one, control).stderr)


def test_the_baseline_beside_itself_is_at_fifty_and_no_judgement_gives_no_number(tmp_path, control):
    assert length_controlled(read(tmp_path, judgements(model="base")), control).rate == 50.0
    assert math.isnan(length_controlled(read(tmp_path, judgements(preference=math.nan)), control).rate)


def test_unknown_questions_and_unknown_lengths_are_refused(tmp_path, control):
    with pytest.raises(UsageError, match="question 79 is unknown"):
        length_controlled(read(tmp_path, judgements(questions=80)), control)
    with pytest.raises(UsageError, match="length of both answers"):
        length_controlled(read(tmp_path, judgements(len_output_2=math.nan)), control)


def test_one_file_without_the_other_or_the_two_swapped_are_refused(tmp_path):
    difficulty, gamed = length_control(tmp_path)
    with pytest.raises(UsageError, match="--gamed is absent"):
        length_control_of(difficulty, None)
    with pytest.raises(UsageError, match="lacks preference"):
        length_control_of(gamed, difficulty)
    with pytest.raises(UsageError, match="cannot be read"):
        length_control_of(tmp_path / "none.csv", gamed)


def test_files_as_pandas_writes_them_and_gamed_rows_without_judgement_are_read(tmp_path):
    difficulty, gamed = length_control(tmp_path)
    stored = read(tmp_path, judgements())
    plain = length_controlled(stored, read_length_control(difficulty, gamed))
    pd.read_csv(difficulty)[["instruction_difficulty"]].to_csv(difficulty)
    pd.read_csv(gamed).drop(columns="instruction_difficulty").to_csv(gamed, index=False)
    assert length_controlled(stored, read_length_control(difficulty, gamed)) == plain
    table = pd.read_csv(gamed)
    table.loc[3, "preference"] = math.nan
    table.to_csv(gamed, index=False)
    assert length_controlled(stored, read_length_control(difficulty, gamed)).rate == pytest.approx(plain.rate, abs=3)
    for name, value, message in (("preference", 1.5, "not in 0 to 1"), ("std_delta_len", "x", "not a number")):
        table.astype({name: object}).assign(**{name: value}).to_csv(gamed, index=False)
        with pytest.raises(UsageError, match=message):
            read_length_control(difficulty, gamed)


def test_scikit_learns_settings_are_left_as_they_were(tmp_path, control):
    import sklearn

    before = sklearn.get_config()
    length_controlled(read(tmp_path, judgements()), control)
    assert sklearn.get_config() == before

"""Judgements drawn at random, and where AlpacaEval's own lie if they are here."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

QUESTIONS = 60


def judgements(*, model="mine", questions=QUESTIONS, seed=0, level=0.3, judge="referee", **columns):
    """Rows as alpaca-eval stores them: longer answers are preferred, some are ties."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(20, 2000, (questions, 2))
    logit = np.log(level / (1 - level)) + (lengths[:, 1] - lengths[:, 0]) / 800 + generator.normal(0, 1, questions)
    preference = 1 + np.round(1 / (1 + np.exp(-2 * logit)), 6)
    preference[::17] = 1.5
    table = {
        "annotator": judge,
        "generator_1": "base",
        "generator_2": model,
        "index": np.arange(questions),
        "preference": preference,
        "len_output_1": lengths[:, 0],
        "len_output_2": lengths[:, 1],
    }
    return pd.DataFrame(table | columns)


def length_control(folder, *, questions=QUESTIONS, seed=9):
    """Write both files of length control for a set of that many questions; return their paths."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(0, 1, questions)
    rows = {
        "preference": generator.random(2 * questions),
        "index": np.tile(np.arange(questions), 2),
        "std_delta_len": generator.normal(0, 1, 2 * questions),
        "instruction_difficulty": np.tile(difficulty, 2),
        "not_gamed_baseline": False,
        "model": np.repeat(["verbose", "concise"], questions),
    }
    paths = folder / "instruction_difficulty.csv", folder / "df_gamed.csv"
    pd.DataFrame({"index": np.arange(questions), "instruction_difficulty": difficulty}).to_csv(paths[0], index=False)
    pd.DataFrame(rows).to_csv(paths[1], index=False)
    return paths


def alpaca_eval_data():
    """Return the folder of AlpacaEval's data, whose licence keeps it out of here; skip where it is absent."""
    beside = Path(__file__).parents[5] / "shared" / "data" / "alpaca_eval"
    folder = Path(os.environ.get("LOSSBENCH_ALPACA_DATA", beside))
    if not (folder / "judgements.csv.gz").is_file():
        pytest.skip("AlpacaEval's judgements are absent; name their folder in LOSSBENCH_ALPACA_DATA")
    return folder

"""AlpacaEval 2's length-controlled win rate, by alpaca-eval's own model with local files in place of the hub's."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import RunError, UsageError
from bench.evaluate.compat import length_control_module
from bench.evaluate.judges.judgements import Array, Judgements

if TYPE_CHECKING:
    from pandas import DataFrame

NAME = "length_controlled_v1"
BASELINE = "gpt4_1106_preview"
"""The files of AlpacaEval were made with judgements against this model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LengthControl:
    """Each question's difficulty ``[questions]`` by its number, and the judgements of the gamed baselines.

    ``gamed``: columns preference (0 to 1), index, std_delta_len, instruction_difficulty, not_gamed_baseline.
    """

    difficulty: Array
    gamed: "DataFrame"


@dataclass(frozen=True, kw_only=True)
class ControlledRate:
    """A length-controlled win rate and its standard error, in percent; NaN for both where they are unknown.

    ``extreme``: alpaca-eval's own warning, that it is too far from the raw one to be trusted.
    """

    rate: float
    stderr: float
    extreme: bool = False


UNKNOWN = ControlledRate(rate=math.nan, stderr=math.nan)


def read_length_control(difficulty: Path, gamed: Path) -> LengthControl:
    """Read alpaca-eval's ``instruction_difficulty.csv`` and ``df_gamed.csv``.

    Where ``gamed`` states a question's difficulty, that one holds, as in alpaca-eval.

    Raises:
        UsageError: a file cannot be read, lacks a column, or has a value that is not a number.
    """
    table = _read(difficulty, ("index", "instruction_difficulty"))
    wanted = ("preference", "index", "std_delta_len", "not_gamed_baseline")
    games = _read(gamed, wanted)
    if "instruction_difficulty" not in games:
        games = games.merge(table[["index", "instruction_difficulty"]], on="index", how="left")
        if games["instruction_difficulty"].isna().any():
            raise UsageError(
                f"{gamed}: has questions that {difficulty} lacks", fix="give two files of one question set"
            )
    if not games["preference"].dropna().between(0, 1).all():
        raise UsageError(f"{gamed}: a preference is not in 0 to 1", fix="give alpaca-eval's df_gamed.csv")
    games["not_gamed_baseline"] = games["not_gamed_baseline"].astype(str).str.lower().isin(("true", "1"))
    known = dict(zip(table["index"], table["instruction_difficulty"], strict=True))
    known |= dict(zip(games["index"], games["instruction_difficulty"], strict=True))
    if sorted(known) != list(range(len(known))):
        raise UsageError(
            f"{difficulty}: the questions are not numbered 0 to {len(known) - 1}", fix="one row each question"
        )
    values = np.array([known[number] for number in range(len(known))], dtype=np.float64)
    return LengthControl(difficulty=values, gamed=games[[*wanted, "instruction_difficulty"]])


def length_controlled(judgements: Judgements, control: LengthControl, *, by_index: bool = False) -> ControlledRate:
    """Return the length-controlled win rate of AlpacaEval 2 (arXiv 2404.04475).

    alpaca-eval's own ``make_dmatrix_for_model`` and ``fit_LogisticRegressionCV`` do the work; its entry function would
    download both files, so what it does around them is done here.

    Args:
        by_index: join a question's difficulty by its number. alpaca-eval joins by the row's position, which is another
            thing where rows are absent, and its leaderboard is made so.

    Raises:
        UsageError: lengths are unknown, or a question is not one of the files'.
        RunError: alpaca-eval failed.
    """
    where = f"model {judgements.model!r}"
    if judgements.model == judgements.baseline:
        return ControlledRate(rate=50.0, stderr=0.0 if int(judgements.judged.sum()) > 1 else math.nan)
    if not judgements.judged.any():
        return UNKNOWN
    difference = judgements.baseline_lengths - judgements.lengths
    if np.isnan(difference).any():
        raise UsageError(
            f"{where}: length control needs the length of both answers in every row",
            fix="give the columns len_output_1 and len_output_2 (characters), or output_1 and output_2",
        )
    features = _features(
        judgements.preferences, difference, _difficulties(judgements, control, by_index=by_index, where=where)
    )
    try:
        predicted, extreme = _fit(features, control.gamed, raw=100.0 * float(np.nanmean(judgements.preferences)))
    except Exception as error:
        raise RunError(
            f"alpaca-eval's length control failed for {where}: {type(error).__name__}: {error}",
            fix="check that alpaca-eval 0.6.6 and a scikit-learn that it knows are installed",
        ) from error
    spread = float(predicted.std(ddof=1)) / math.sqrt(len(predicted)) if len(predicted) > 1 else math.nan
    return ControlledRate(rate=100.0 * float(predicted.mean()), stderr=100.0 * spread, extreme=extreme)


def _difficulties(judgements: Judgements, control: LengthControl, *, by_index: bool, where: str) -> Array:
    rows: NDArray[np.int64] = np.arange(len(judgements.preferences))
    numbers = rows if judgements.index is None else judgements.index
    if numbers.max() >= len(control.difficulty):
        raise UsageError(
            f"{where}: question {numbers.max()} is unknown; the difficulty of {len(control.difficulty)} is given",
            fix="length control is for the question set of the files alone: leave --difficulty and --gamed out",
        )
    return control.difficulty[numbers if by_index else rows]


def _features(preferences: Array, difference: Array, difficulty: Array) -> "DataFrame":
    import pandas as pd

    deviation = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return pd.DataFrame(
        {
            "preference": preferences,
            # all differences alike: nothing to control for
            "std_delta_len": difference / deviation if deviation > 0 else 0.0 * difference,
            "instruction_difficulty": difficulty,
            "not_gamed_baseline": True,
        }
    )


def _fit(features: "DataFrame", gamed: "DataFrame", *, raw: float) -> tuple[Array, bool]:
    """Return the preferences predicted at equal lengths ``[rows]``, and whether alpaca-eval warns of their mean."""
    import pandas as pd
    import sklearn

    official = _official()
    settings = official.GLM_INFO[NAME]
    together = pd.concat([gamed, features], axis=0)
    test = features[["instruction_difficulty", "not_gamed_baseline"]].assign(std_delta_len=0)
    train, wanted = official.make_dmatrix_for_model(together, test, formula=settings["formula"])
    own = together["not_gamed_baseline"].astype(bool)
    # halved because there are two gamed baselines
    weight = own.astype(float) + settings["regularize_to_baseline_lambda"] * (~own).astype(float) / 2
    judged = train["preference"].notna()
    # alpaca-eval sets scikit-learn's metadata routing for the whole process
    with sklearn.config_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = official.fit_LogisticRegressionCV(
            train[judged], "preference", is_ytrue_proba=True, sample_weight=weight[judged], **settings["kwargs"]
        )
        predicted = model.predict_proba(wanted)[:, 1]
    return predicted, bool(official.get_is_extreme_changes(raw, 100.0 * predicted.mean()))


def _official() -> ModuleType:
    from bench.utils.isolation import quiet, same_environment

    with quiet(), same_environment():
        return length_control_module()


def _read(path: Path, columns: tuple[str, ...]) -> "DataFrame":
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as CSV ({error})", fix="give the files of alpaca-eval") from error
    if "index" not in table:  # pandas writes an index without a name
        table = table.rename(columns={"Unnamed: 0": "index"})
    absent = [name for name in columns if name not in table]
    if absent:
        raise UsageError(
            f"{path}: lacks {', '.join(absent)}; has {', '.join(map(str, table.columns))}",
            fix="--difficulty takes instruction_difficulty.csv, --gamed takes df_gamed.csv",
        )
    numeric = [name for name in columns if name != "not_gamed_baseline"]
    for name in numeric:
        column = pd.to_numeric(table[name], errors="coerce")
        blank = column.isna() & table[name].isna() if name == "preference" else False  # a judge that did not answer
        if not (np.isfinite(column) | blank).all():
            raise UsageError(f"{path}: {name} has a value that is not a number", fix="restore the file")
        table[name] = column
    return table

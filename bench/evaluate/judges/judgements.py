"""Stored judgements, read from CSV or alpaca-eval's JSON and validated."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.evaluate.judges.answers import parsed_records, text_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Array = NDArray[np.float64]
SCALE = "1 the baseline is better, 2 the model is better, 1.5 or 0 a tie, empty: not judged"
FORMS = "CSV (.csv, .csv.gz) or JSON (a list of records, or one a line), as alpaca-eval writes it"


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgements:
    """One judge's judgements of one model beside one baseline, a row each question.

    ``preferences``: probability that the model's answer is the better one, NaN where there is no judgement, ``[rows]``.
    ``index``: the question's number, rising; None where the file has none. Lengths in characters, NaN where unknown,
    ``[rows]``. ``instructions``: the questions' texts, None where they are unknown or not all different. ``repeated``:
    rows left out because they say the same as another.
    """

    judge: str
    model: str
    baseline: str
    preferences: Array
    index: NDArray[np.int64] | None
    lengths: Array
    baseline_lengths: Array
    instructions: tuple[str, ...] | None = None
    repeated: int = 0

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which rows have a judgement, ``[rows]``."""
        return ~np.isnan(self.preferences)


def read_judgements(path: Path) -> list[Judgements]:
    """Read a file of judgements: one ``Judgements`` for each judge and model in it, in the file's order.

    Columns: ``preference`` (1 the baseline is better … 2 the model is; 1.5 or 0 a tie; empty: not judged), ``model``
    (or ``generator_2``), and where they are known ``generator_1``, ``annotator``, ``index``, and ``len_output_1`` and
    ``len_output_2``, or the texts ``output_1`` and ``output_2``. Rows are sorted by ``index``; without one they stay.

    Raises:
        UsageError: the file cannot be read, lacks a column, or says two different things of one question.
    """
    table = judgement_table(path)
    if "preference" not in table or not {"model", "generator_2"} & set(table):
        raise UsageError(
            f"judgements {path}: needs the columns preference, and generator_2 or model; has {', '.join(table)}",
            fix=f"each row is one judgement: preference is {SCALE}",
        )
    if table.empty:
        raise UsageError(f"judgements {path}: no rows", fix=f"each row is one judgement: preference is {SCALE}")
    names = _text(table, "model" if "model" in table else "generator_2", path=path)
    judges = _text(table, "annotator", path=path) if "annotator" in table else names.map(lambda _: _stem(path))
    return [
        _of_one(rows, path=path, judge=str(judge), model=str(model))
        for (judge, model), rows in table.groupby([judges.rename("judge"), names.rename("name")], sort=False)
    ]


def distinct_texts(texts: Iterable[str]) -> tuple[str, ...] | None:
    """Return the texts, None where one occurs twice: then they do not say which question is which."""
    values = tuple(texts)
    return values if len(set(values)) == len(values) else None


def _of_one(rows: "DataFrame", *, path: Path, judge: str, model: str) -> Judgements:
    where = f"judgements {path}, model {model!r}"
    baselines = rows["generator_1"].dropna().unique() if "generator_1" in rows else ["baseline"]
    if len(baselines) != 1:
        raise UsageError(
            f"{where}: {len(baselines)} baselines ({', '.join(map(str, baselines[:3]))})",
            fix="a win rate is against one baseline: give a file for each",
        )
    index = None
    if "index" in rows:
        index = _integers(rows["index"], where=where)
        order = np.argsort(index, kind="stable")
        rows, index = rows.iloc[order], index[order]
    preferences = _preferences(rows["preference"], where=where)
    kept = _distinct(rows, preferences, index=index, where=where)
    return Judgements(
        judge=judge,
        model=model,
        baseline=str(baselines[0]),
        preferences=preferences[kept],
        index=None if index is None else index[kept],
        lengths=_lengths(rows, 2, where=where)[kept],
        baseline_lengths=_lengths(rows, 1, where=where)[kept],
        instructions=distinct_texts(rows["instruction"][kept].astype(str)) if "instruction" in rows else None,
        repeated=int(len(kept) - kept.sum()),
    )


def _preferences(column: "Series", *, where: str) -> Array:
    """Return P(the model is better): alpaca-eval's scale minus 1. What is off the scale counts as not judged there."""
    values = _numbers(column, where=f"{where}, preference")
    if ((values > 0) & (values < 1)).any():
        off = float(values[(values > 0) & (values < 1)][0])
        raise UsageError(
            f"{where}: the preference {off} is off the scale",
            fix=f"the scale is: {SCALE}; add 1 to probabilities that the model is better",
        )
    values = np.where(values == 0.0, 1.5, values)
    return np.where((values >= 1) & (values <= 2), values, np.nan) - 1.0


def _distinct(
    rows: "DataFrame", preferences: Array, *, index: NDArray[np.int64] | None, where: str
) -> NDArray[np.bool_]:
    """Return which rows to keep: the first of those that judge the same texts. Without texts or number: all."""
    names = [name for name in ("instruction", "output_1", "output_2") if name in rows]
    if index is not None:
        keys: Sequence[Hashable] = index.tolist()
    elif "instruction" in names:
        keys = list(rows[names].astype(str).itertuples(index=False, name=None))
    else:
        return np.ones(len(rows), dtype=bool)
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        other = first.setdefault(key, row)
        if not np.array_equal(preferences[row], preferences[other], equal_nan=True):
            named = key if index is not None else repr(str(rows["instruction"].iloc[row])[:60])
            raise UsageError(
                f"{where}: question {named} has two judgements, {preferences[other] + 1} and {preferences[row] + 1}",
                fix="keep one of them; name two judges apart in the column annotator, or give a file for each",
            )
    kept = np.zeros(len(rows), dtype=bool)
    kept[list(first.values())] = True
    return kept


def _lengths(rows: "DataFrame", side: int, *, where: str) -> Array:
    if f"len_output_{side}" in rows:
        return _numbers(rows[f"len_output_{side}"], where=f"{where}, len_output_{side}")
    if f"output_{side}" in rows:
        return np.array([len(text) if isinstance(text, str) else np.nan for text in rows[f"output_{side}"]])
    return np.full(len(rows), np.nan)


def _numbers(column: "Series", *, where: str) -> Array:
    import pandas as pd

    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: not a number ({error})", fix="numbers, or empty where there is none") from error


def _integers(column: "Series", *, where: str) -> NDArray[np.int64]:
    values = _numbers(column, where=f"{where}, index")
    if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
        raise UsageError(
            f"{where}: an index is not a whole number ≥ 0", fix="index is the question's number in the set"
        )
    return values.astype(np.int64)


def _text(table: "DataFrame", name: str, *, path: Path) -> "Series":
    if table[name].isna().any():
        row = int(table[name].isna().to_numpy().argmax()) + 1
        raise UsageError(f"judgements {path}: row {row} has no {name}", fix=f"fill the column {name} in every row")
    return table[name].astype(str)


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def judgement_table(path: Path) -> "DataFrame":
    """Return a file's rows and columns as they are. Raises UsageError: it cannot be read."""
    import pandas as pd

    text = text_of(path, called=f"judgements {path}", forms=FORMS)
    if ".csv" not in path.suffixes:
        return pd.DataFrame.from_records(parsed_records(text, path=path))
    try:
        import io

        return pd.read_csv(io.StringIO(text))
    except ValueError as error:
        raise UsageError(f"judgements {path}: not a CSV table ({error})", fix=FORMS) from error

"""Owns the trials as tidy data: one row a run, split and metric, for whoever wants to analyse them on their own."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.report.columns import Cell
from bench.report.leaderboard import COSTS, without_formulas
from bench.report.record import RunRecord
from bench.report.settings import Group, Setting

if TYPE_CHECKING:
    from pandas import DataFrame

NAMES = (
    *("protocol", "preset", "suite", "suite_version", "model", "data", "run", "evaluation"),
    *("objective", "objective_version", "params", "train", "learning_rate", "seed", "best", "split", "status"),
    *("task", "metric", "value", "stderr", "n", "higher_is_better"),
    *COSTS,
)
"""The columns that every file of trials has, in order; one for each parameter follows, ``param_beta`` and so on."""


def trials(groups: Iterable[Group]) -> "DataFrame":
    """Return every number of every run: one row for each run, split and metric; a run without metrics has one row.

    Columns are ``NAMES``, then ``param_<name>`` for each parameter that any objective here has. What a run cost stands
    in all its rows. Equal records give an equal table, in whatever order they come.
    """
    from pandas import DataFrame

    rows = []
    for group in groups:
        for setting in (*([group.start] if group.start is not None else []), *group.settings):
            for record in (*setting.validation, *setting.test):
                rows += _rows(group, setting, record)
    params = sorted({name for row in rows for name in row if name not in NAMES})
    return DataFrame(rows, columns=[*NAMES, *params])


def trials_text(groups: Iterable[Group]) -> str:
    """Return the trials as CSV, with all digits: a number read back is the number of the record."""
    return without_formulas(trials(groups)).to_csv(index=False, lineterminator="\n")


def _rows(group: Group, setting: Setting, record: RunRecord) -> list[dict[str, Cell]]:
    spec = record.spec
    shared: dict[str, Cell] = {
        "protocol": group.protocol,
        "preset": group.tuning.get("preset"),
        "suite": group.suite,
        "suite_version": group.suite_version,
        "model": group.model,
        "data": group.data,
        "run": record.key,
        "evaluation": record.evaluation_key,
        "objective": setting.objective,
        "objective_version": setting.objective_version,
        "params": json.dumps(dict(setting.params), sort_keys=True),
        "train": json.dumps({name: dict(setting.train).get(name) for name in group.differing}, sort_keys=True),
        "learning_rate": setting.learning_rate,
        "seed": spec.seed,
        "best": setting.best,
        "split": record.evaluation.split,
        "status": record.status,
        **{name: getattr(record.cost, name) for name in COSTS},
        **{f"param_{name}": value for name, value in setting.params},
    }
    metrics: list[dict[str, Cell]] = [
        {
            "task": metric.task,
            "metric": metric.name,
            "value": metric.value,
            "stderr": metric.stderr,
            "n": metric.n,
            "higher_is_better": metric.higher_is_better,
        }
        for metric in record.metrics
    ]
    return [shared | metric for metric in metrics or [{}]]

"""Owns the leaderboard: one row an objective and setting, ranked within what may be compared; CSV and Markdown."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.record import START, Metric, RunRecord
from bench.report.settings import Group, Setting, by_seed, group_records, interval, values
from bench.report.store import load_records, write_text_whole
from bench.stats.intervals import LEVEL, Interval, paired_difference

if TYPE_CHECKING:
    from pandas import DataFrame

Cell = str | float | int | bool | None
INTERVALS = (("target", None), ("gold_reward", None), ("kl", None), ("win_rate", "judge"), ("lc_win_rate", "judge"))
MEANS = (
    ("accuracy", "preference"),
    ("margin", "preference"),
    ("chosen_shift", "preference"),
    ("rejected_shift", "preference"),
    ("length", "generation"),
    ("distinct_1", "generation"),
    ("distinct_2", "generation"),
)
OWN_TASKS = ("generation", "preference", "judge", "train")
STATUSES = ("completed", "diverged", "pruned", "failed")
COSTS = (
    "train_seconds",
    "evaluate_seconds",
    "reference_seconds",
    "tokens",
    "forward_tokens",
    "flops",
    "peak_memory_bytes",
)
IDENTITY = ("protocol", "suite", "suite_version", "model", "data", "objective", "params", "beta", "learning_rate")


@dataclass(frozen=True)
class Paths:
    """Where the leaderboard was written."""

    csv: Path
    markdown: Path
    cost: Path


def leaderboard(records: Iterable[RunRecord]) -> "DataFrame":
    """Return one row per objective and setting, and one for the start model, best settings first in each group.

    Groups are one protocol, suite, start model and data set; ``rank`` counts within a group. ``best`` marks the setting
    that an objective's validation target chose; plain columns (``target``, …) are means over the test runs, ``_low``
    and ``_high`` bound their 95 % interval, whose source is ``interval``. Equal records give an equal table, in
    whatever order they come. Raises RunError where one run was evaluated twice under one protocol.
    """
    from pandas import DataFrame

    groups = group_records(records)
    fields = sorted({name for group in groups for name in group.differing})
    tasks = sorted({(m.task, m.name) for group in groups for m in _others(group)})
    rows = [row for group in groups for row in _rows(group, fields=fields, tasks=tasks)]
    return DataFrame(rows, columns=list(rows[0]) if rows else list(IDENTITY))


def costs(records: Iterable[RunRecord]) -> "DataFrame":
    """Return what each setting cost, all its runs together, in the order of the leaderboard. Times vary by machine."""
    from pandas import DataFrame

    rows = []
    for group in group_records(records):
        for setting in ranked(group):
            # a run that was evaluated twice was trained once
            runs = {record.key: record.cost for record in (*setting.validation, *setting.test)}
            total: dict[str, Cell] = {n: math.fsum(float(getattr(c, n)) for c in runs.values()) for n in COSTS}
            every = [record.cost.evaluate_seconds for record in (*setting.validation, *setting.test)]
            peak = max(cost.peak_memory_bytes for cost in runs.values())
            total |= {"evaluate_seconds": math.fsum(every), "peak_memory_bytes": peak, "runs": len(runs)}
            device = ", ".join(sorted({cost.device for cost in runs.values()}))
            rows.append({**_identity(group, setting), **total, "device": device})
    return DataFrame(rows, columns=list(rows[0]) if rows else [*IDENTITY, *COSTS])


def write_leaderboard(results: Path) -> Paths:
    """Write ``leaderboard.csv``, ``leaderboard.md`` and ``leaderboard-cost.csv`` under ``results`` from its records.

    The first two have the same bytes whenever the records' numbers are the same; what varies with the machine is in the
    third. Raises RunError for a damaged record, a full disk and the like.
    """
    from bench.report.markdown import leaderboard_markdown

    records = load_records(results)
    names = ("leaderboard.csv", "leaderboard.md", "leaderboard-cost.csv")
    paths = Paths(*(results / name for name in names))
    write_text_whole(paths.csv, csv_text(leaderboard(records)))
    write_text_whole(paths.markdown, leaderboard_markdown(group_records(records)))
    write_text_whole(paths.cost, csv_text(costs(records)))
    return paths


def csv_text(frame: "DataFrame") -> str:
    """Return ``frame`` as CSV with six significant digits and plain line ends: equal numbers give equal bytes."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def ranked(group: Group) -> list[Setting]:
    """Return the settings as they are shown: best ones and the start model by test target, then the others."""
    first = [setting for setting in group.settings if setting.best]
    first += [group.start] if group.start is not None else []
    rest = [setting for setting in group.settings if not setting.best]
    return sorted(first, key=_by_score) + rest


def rank_of(group: Group, setting: Setting) -> int | None:
    """Return the place of an objective's best setting by test target; None for all others, and without a test run."""
    if not setting.best:
        return None
    tested = [row for row in ranked(group) if row.best and values(row.test, "target")]
    return next((at for at, row in enumerate(tested, start=1) if row is setting), None)


def difference_to_first(group: Group, setting: Setting) -> Interval:
    """Return test target minus that of the group's first row over common seeds, with an interval for all rows at once.

    Seeds fix the data order and the samples' noise, so runs with one seed are paired. The level of each interval is
    1 − 0.05/m for m rows beside the first (Bonferroni), so that one in twenty tables holds a wrong difference.
    """
    rows = [row for row in ranked(group) if rank_of(group, row)]
    if not rows or setting is rows[0] or not setting.best:
        return Interval(math.nan, math.nan, math.nan, "none", 0)
    level = 1 - (1 - LEVEL) / max(1, len(rows) - 1)
    return paired_difference(by_seed(setting.test, "target"), by_seed(rows[0].test, "target"), level=level)


def _rows(group: Group, *, fields: Sequence[str], tasks: Sequence[tuple[str, str]]) -> list[dict[str, Cell]]:
    rows = []
    for setting in ranked(group):
        row: dict[str, Cell] = {**_identity(group, setting), "objective_version": setting.objective_version}
        row |= {name: None if setting.objective == START else dict(setting.train).get(name) for name in fields}
        row |= {"best": setting.best, "rank": rank_of(group, setting)}
        row |= _measured(setting, tasks)
        gap = difference_to_first(group, setting)
        row |= {"target_minus_first": gap.mean, "target_minus_first_low": gap.low, "target_minus_first_high": gap.high}
        rows.append(row | _counts(setting))
    return rows


def _identity(group: Group, setting: Setting) -> dict[str, Cell]:
    started = setting.objective == START
    return {
        "protocol": group.protocol,
        "suite": group.suite,
        "suite_version": group.suite_version,
        "model": group.model,
        "data": group.data,
        "objective": setting.objective,
        "params": "" if started else setting.params_text,
        "beta": None if started else setting.param("beta"),
        "learning_rate": None if started else setting.learning_rate,
    }


def _measured(setting: Setting, tasks: Sequence[tuple[str, str]]) -> dict[str, Cell]:
    row: dict[str, Cell] = {"seeds_validation": len(values(setting.validation, "target"))}
    for name in ("target", "gold_reward", "kl"):
        row[f"validation_{name}"] = interval(setting.validation, name).mean
    row |= {"seeds_test": len(values(setting.test, "target")), "interval": interval(setting.test, "target").source}
    for name, task in INTERVALS:
        found = interval(setting.test, name, task=task)
        row |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    for name, task in MEANS:
        row[name] = interval(setting.test, name, task=task).mean
    for task, name in tasks:
        metrics = values(setting.test, name, task=task)
        row |= {f"{task}_{name}": interval(setting.test, name, task=task).mean}
        # every seed answers the same items, so their noise does not average out over seeds
        squares = [metric.stderr**2 for metric in metrics if metric.stderr is not None]
        row |= {f"{task}_{name}_stderr": math.sqrt(math.fsum(squares) / len(squares)) if squares else None}
    trained = setting.test if values(setting.test, "clipped_share", task="train") else setting.validation
    return row | {name: interval(trained, name, task="train").mean for name in ("clipped_share", "final_loss")}


def _counts(setting: Setting) -> dict[str, Cell]:
    status = {record.key: record.status for record in (*setting.validation, *setting.test)}
    return {name: sum(found == name for found in status.values()) for name in STATUSES}


def _others(group: Group) -> list[Metric]:
    """Return the metrics of tasks that have no columns of their own: BLiMP and whatever else a suite asks for."""
    settings = [*group.settings, *([group.start] if group.start else [])]
    records = (record for setting in settings for record in (*setting.validation, *setting.test))
    return [metric for record in records for metric in record.metrics if metric.task not in OWN_TASKS]


def _by_score(setting: Setting) -> tuple[bool, float, float, str]:
    test, validation = interval(setting.test, "target").mean, interval(setting.validation, "target").mean
    unknown = math.isnan(test)
    return (unknown, 0.0 if unknown else -test, math.inf if math.isnan(validation) else -validation, setting.objective)

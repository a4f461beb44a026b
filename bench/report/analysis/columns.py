"""The columns of the leaderboard as data: the same ones in the same order for every suite, tasks last."""

import json
import math
from collections.abc import Sequence

from bench.core.record import START, Metric
from bench.report.analysis.compared import Compared, Row, score_interval
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting, interval, values
from bench.stats.intervals import Interval

Cell = str | float | int | bool | None
IDENTITY = ("protocol", "suite", "suite_version", "model", "data", "objective", "params", "beta", "learning_rate")
SCORES = ("target", "gold_reward", "kl")
WINS = ("win_rate", "lc_win_rate")
DEGENERATE = ("empty_share", "copied_share", "constant_share", "repeated_share")
"""Shares of samples that are no answer (``bench.evaluate.metrics.generation.degenerate``)."""
FLAGGED = 0.05
"""A setting is flagged where more than this share of its test samples is degenerate in one of the four ways."""
MEANS = (
    ("accuracy", "preference"),
    ("margin", "preference"),
    ("chosen_shift", "preference"),
    ("rejected_shift", "preference"),
    ("length", "generation"),
    ("distinct_1", "generation"),
    ("distinct_2", "generation"),
    *((name, "generation") for name in DEGENERATE),
)
OWN_TASKS = ("generation", "preference", "judge", "train")
STATUSES = ("completed", "diverged", "pruned", "failed")
SIZES = ("small", "medium", "large")
NAMES = (
    *(*IDENTITY, "preset", "objective_version", "best", "rank"),
    *("seeds_validation", "validation_target", "validation_gold_reward", "validation_kl", "seeds_test", "interval"),
    *(f"{name}{end}" for name in (*SCORES, *WINS) for end in ("", "_low", "_high")),
    *(*(name for name, _ in MEANS), "degenerate", "clipped_share", "final_loss"),
    *("iqm", "iqm_low", "iqm_high", "letters"),
    *("target_minus_first", "target_minus_first_low", "target_minus_first_high", "p_to_first"),
    *("improvement_over", "improvement", "improvement_low", "improvement_high"),
    *("sensitivity_best", "sensitivity_median", "sensitivity_worst"),
    *(f"kl_budget_{size}" for size in SIZES),
    *(f"reward_at_kl_{size}" for size in SIZES),
    *("hypervolume", "importances", "variance_seed", "variance_prompt"),
    *STATUSES,
)
"""The columns that every leaderboard has, in order; training fields that differ and other tasks' metrics follow."""


def fields_of(groups: Sequence[Group]) -> list[str]:
    """Return the training fields that differ within a group, sorted: each is a column after ``NAMES``."""
    return sorted({name for group in groups for name in group.differing})


def tasks_of(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return the tasks that have no columns of their own (BLiMP, …), each with its metrics: the last columns."""
    return sorted({(metric.task, metric.name) for group in groups for metric in _others(group)})


def shares_of(group: Group) -> list[tuple[str, str]]:
    """Return the tasks of lm-eval besides BLiMP that measure a share of right answers, each with its first measure.

    That is ``acc_norm`` where a task has it, as its own papers report it, else ``acc`` or ``exact_match``.
    """
    measured = tasks_of([group])
    names = ("acc_norm", "acc", "exact_match")
    found = {}
    for task, _ in measured:
        first = next((name for name in names if (task, name) in measured), None)
        if task != "blimp" and first is not None:
            found[task] = first
    return list(found.items())


def rows_of(compared: Compared, *, fields: Sequence[str], tasks: Sequence[tuple[str, str]]) -> list[dict[str, Cell]]:
    """Return one row for each setting and one for the start model, in the order in which they are shown."""
    group = compared.group
    rows = []
    for setting in ranked(group):
        row: dict[str, Cell] = {**identity(group, setting), "preset": group.tuning.get("preset")}
        row |= {"objective_version": setting.objective_version, "best": setting.best}
        row |= _measured(setting) | _counts(setting)
        if setting.best:
            row |= _analysed(compared, compared.rows[setting.objective])
        row |= {name: None if setting.objective == START else dict(setting.train).get(name) for name in fields}
        rows.append(row | _tasks(setting, tasks))
    return rows


def identity(group: Group, setting: Setting) -> dict[str, Cell]:
    """Return the columns that say which setting of which table a row is."""
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


def is_degenerate(setting: Setting) -> bool | None:
    """Return whether the setting's test samples are flagged as no answers, None where that was not measured."""
    shares = [interval(setting.test, name, task="generation").mean for name in DEGENERATE]
    known = [share for share in shares if not math.isnan(share)]
    return any(share > FLAGGED for share in known) if known else None


def _measured(setting: Setting) -> dict[str, Cell]:
    row: dict[str, Cell] = {"seeds_validation": len(values(setting.validation, "target"))}
    for name in SCORES:
        row[f"validation_{name}"] = interval(setting.validation, name).mean
    row |= {"seeds_test": len(values(setting.test, "target"))}
    row |= {"interval": score_interval(setting.test).source, "degenerate": is_degenerate(setting)}
    for name in SCORES:
        row |= _bounds(name, score_interval(setting.test, name=name))
    for name in WINS:
        row |= _bounds(name, interval(setting.test, name, task="judge"))
    for name, task in MEANS:
        row[name] = interval(setting.test, name, task=task).mean
    trained = setting.test if values(setting.test, "clipped_share", task="train") else setting.validation
    return row | {name: interval(trained, name, task="train").mean for name in ("clipped_share", "final_loss")}


def _analysed(compared: Compared, row: Row) -> dict[str, Cell]:
    budgets = zip(SIZES, compared.budgets, row.reward_at_kl, strict=True)
    parts = row.components
    return {
        "rank": row.rank,
        "letters": row.letters,
        **_bounds("iqm", row.iqm),
        **_bounds("target_minus_first", row.to_first.difference),
        "p_to_first": row.to_first.p,
        "improvement_over": compared.baseline,
        **_bounds("improvement", row.improvement),
        "sensitivity_best": row.sensitivity.best,
        "sensitivity_median": row.sensitivity.median,
        "sensitivity_worst": row.sensitivity.worst,
        **{f"{n}_{size}": x for size, kl, best in budgets for n, x in (("kl_budget", kl), ("reward_at_kl", best))},
        "hypervolume": row.hypervolume,
        "importances": json.dumps({name: round(share, 6) for name, share in sorted(row.importances.items())}),
        "variance_seed": parts.seed if parts else None,
        "variance_prompt": parts.prompt if parts else None,
    }


def _bounds(name: str, found: Interval) -> dict[str, Cell]:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _tasks(setting: Setting, tasks: Sequence[tuple[str, str]]) -> dict[str, Cell]:
    row: dict[str, Cell] = {}
    for task, name in tasks:
        metrics = values(setting.test, name, task=task)
        row |= {f"{task}_{name}": interval(setting.test, name, task=task).mean}
        # every seed answers the same items, so their noise does not average out over seeds
        squares = [metric.stderr**2 for metric in metrics if metric.stderr is not None]
        row |= {f"{task}_{name}_stderr": math.sqrt(math.fsum(squares) / len(squares)) if squares else None}
    return row


def _counts(setting: Setting) -> dict[str, Cell]:
    status = {record.key: record.status for record in (*setting.validation, *setting.test)}
    return {name: sum(found == name for found in status.values()) for name in STATUSES}


def _others(group: Group) -> list[Metric]:
    return [metric for record in group.records for metric in record.metrics if metric.task not in OWN_TASKS]

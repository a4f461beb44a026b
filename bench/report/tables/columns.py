"""Columns of the leaderboard, each declared once: CSV, Markdown, LaTeX, page and terminal render this list."""

import math
from collections.abc import Callable, Iterator, Sequence

from bench.core.record import GOLD_REWARD, REWARD
from bench.core.task_outcomes import SHARES
from bench.report.analysis.comparison import ObjectiveResult, score_interval
from bench.report.analysis.costs import total_cost
from bench.report.analysis.settings import Group, Setting, interval, values
from bench.report.tables.column import Column, Entry, Getter, Heading, Output, names_in_csv, of_result
from bench.report.tables.format import Format, Value
from bench.report.tables.tasks import tested_columns
from bench.report.tables.text import (
    reward_brief,
    reward_label,
    run_keys,
    setting_text,
    short_keys,
    target_label,
    target_short,
    troubles,
)
from bench.report.tables.verdict_columns import verdict_columns
from bench.stats.intervals import Interval

SECTIONS = ("setting", "choice", "validation", "test", "scores", "analysis", "sweep", "runs", "fields", "tasks")
"""The order of the CSV's columns; those of one section are in the order of the list."""
DEGENERATE = {
    "empty_share": "empty",
    "copied_share": "the prompt again",
    "constant_share": "one token throughout",
    "repeated_share": "word for word another prompt's",
}
"""Shares of samples that are no answer (``bench.evaluate.metrics.generation``), and what such a sample is."""
FLAGGED = 0.05
"""A setting is flagged where more than this share of its test samples is degenerate in one of the four ways."""
OWN_TASKS = ("generation", "preference", "judge", "train")
STATUSES = ("completed", "diverged", "pruned", "failed")
SIZES = ("small", "medium", "large")


def columns_of(groups: Sequence[Group]) -> list[Column]:
    """Return every column of a table of ``groups``, in the order in which people read them."""
    several_rates = any(group.several_rates for group in groups)
    judged = any(group.judges for group in groups)
    return [
        *_setting_columns(several_rates=several_rates),
        *_target_columns(),
        *_score_columns(judged=judged),
        *_task_columns(groups),
        *_run_columns(judged=judged),
        *_sweep_columns(),
        *_field_columns(groups),
    ]


def csv_columns(groups: Sequence[Group]) -> list[Column]:
    """Return the columns of the CSV in their order: the same for every suite, then training fields, then tasks."""
    kept = [column for column in columns_of(groups) if column.csv is not None]
    return sorted(kept, key=lambda column: SECTIONS.index(column.csv or ""))


def output_columns(group: Group, output: Output) -> list[Column]:
    """Return the columns of one output for people."""
    return [column for column in columns_of([group]) if output in column.shows]


def csv_names(groups: Sequence[Group] = ()) -> list[str]:
    """Return the CSV's header; without groups, the columns that every leaderboard has."""
    return [name for column in csv_columns(groups) for name in names_in_csv(column)]


def is_degenerate(setting: Setting) -> bool | None:
    """Return whether more than ``FLAGGED`` of the test samples are no answers, None where that was not measured."""
    shares = [interval(setting.test, name, task="generation").mean for name in DEGENERATE]
    known = [share for share in shares if not math.isnan(share)]
    return any(share > FLAGGED for share in known) if known else None


def _score(name: str) -> Getter:
    """Return a getter of a score over seeds and prompts."""
    return lambda entry: score_interval(entry.setting.records(entry.split), name=name)


def _mean(name: str, task: str) -> Getter:
    """Return a getter of a task's metric over seeds."""
    return lambda entry: interval(entry.setting.records(entry.split), name, task=task)


def _validation(name: str) -> Getter:
    """Return a getter of a metric over seeds on validation prompts, whatever the entry's prompts are."""
    return lambda entry: interval(entry.setting.validation, name)


def _rewarder(group: Group) -> str:
    """Return who gives the reward: the first judge, or the suite."""
    return group.judges[0] if group.judges else "gold"


def _of_group(get: Callable[[Group], Value]) -> Getter:
    return lambda entry: get(entry.group)


def _trained(get: Callable[[Setting], Value]) -> Getter:
    """Return a getter of what the start model does not have."""
    return lambda entry: None if entry.untrained else get(entry.setting)


def _setting_columns(*, several_rates: bool) -> list[Column]:
    """Return what says which setting of which table a row is."""
    rate: dict[Output, Format] = {"page": Format(style="short")} if several_rates else {}
    return [
        Column("protocol", "protocol", _of_group(lambda group: group.protocol), csv="setting"),
        Column("suite", "suite", _of_group(lambda group: group.suite), csv="setting"),
        Column("suite_version", "suite version", _of_group(lambda group: group.suite_version), csv="setting"),
        Column("model", "model", _of_group(lambda group: group.model), csv="setting"),
        Column("data", "data", _of_group(lambda group: group.data), csv="setting"),
        Column("preset", "preset", _of_group(lambda group: group.preset), csv="choice"),
        Column("objective_version", "version", lambda entry: entry.setting.objective_version, csv="choice"),
        Column("best", "best", lambda entry: entry.setting.best, csv="choice"),
        Column(
            "rank",
            "rank",
            of_result(lambda result: result.rank),
            csv="choice",
            shows={"markdown": Format(), "page": Format(label="#")},
            by_split="both",
            about="place by test target",
        ),
        Column(
            "objective",
            "objective",
            lambda entry: entry.setting.objective,
            csv="setting",
            shows={"markdown": Format(), "sweeps": Format(), "latex": Format(), "page": Format()},
            numeric=False,
            by_split="both",
        ),
        Column("setting", "setting", _setting(brief=False), shows={"markdown": Format()}, numeric=False),
        Column("setting_brief", "setting", _setting(brief=True), shows={"latex": Format()}, numeric=False),
        Column("params", "parameters", lambda e: "" if e.untrained else e.setting.params_text, csv="setting"),
        Column(
            "beta",
            "β",
            _trained(lambda setting: setting.param("beta")),
            csv="setting",
            shows={"page": Format(style="short")},
            by_split="both",
        ),
        Column(
            "learning_rate",
            "learning rate",
            _trained(lambda setting: setting.learning_rate),
            csv="setting",
            shows=rate,
            by_split="both",
        ),
        Column("others", "other values", _other_values, shows={"page": Format()}, numeric=False, by_split="both"),
    ]


def _target_columns() -> list[Column]:
    """Return the target and what the comparison says of it."""
    spread, share = Format(style="spread"), Format(0, "range", percent=True)
    return [
        Column(
            "target",
            lambda comparison: target_label(comparison.group),
            _score("target"),
            csv="scores",
            bounds=True,
            shows=_everywhere(spread, terminal=Format(2, "spread", label="target")),
            about="mean and its 95 % interval",
            falling=True,
            plot=True,
        ),
        Column("iqm", "IQM", of_result(lambda result: result.iqm), csv="analysis", bounds=True),
        *verdict_columns(),
        Column(
            "improvement_over",
            "baseline",
            lambda entry: entry.comparison.baseline if entry.result else None,
            csv="analysis",
        ),
        Column(
            "improvement",
            lambda comparison: f"beats {comparison.baseline or 'baseline'}",
            of_result(lambda result: result.improvement),
            unit="%",
            csv="analysis",
            bounds=True,
            shows={"markdown": share, "latex": share, "page": Format(1, "spread", percent=True)},
            about=lambda comparison: f"on a prompt, over {comparison.baseline}",
            falling=True,
        ),
    ]


def _score_columns(*, judged: bool) -> list[Column]:
    """Return what was measured besides the target: scores, win rates, preferences, samples, training."""
    spread, one = Format(style="spread"), Format(1, "spread")
    return [
        Column(
            REWARD if judged else GOLD_REWARD,
            lambda comparison: reward_label(comparison.group),
            _score(GOLD_REWARD),
            csv="scores",
            bounds=True,
            shows=_everywhere(spread, terminal=Format(2)),
            brief=lambda comparison: reward_brief(comparison.group),
            falling=True,
        ),
        *([Column("reward_by", "reward by", _of_group(_rewarder), csv="scores")] if judged else []),
        Column(
            "kl",
            "KL",
            _score("kl"),
            unit="nats",
            csv="scores",
            bounds=True,
            shows=_everywhere(one, terminal=Format(1)),
        ),
        Column(
            "win_rate",
            "win rate",
            _mean("win_rate", "judge"),
            unit="%",
            csv="scores",
            bounds=True,
            shows=_everywhere(one, terminal=Format(1, label="wins")),
            about="against the start model",
            falling=True,
        ),
        Column(
            "lc_win_rate",
            "LC wins",
            _mean("lc_win_rate", "judge"),
            unit="%",
            csv="scores",
            bounds=True,
            shows={"page": Format(1)},
            about="length-controlled win rate against the start model",
            falling=True,
        ),
        Column(
            "accuracy",
            "reward accuracy",
            _mean("accuracy", "preference"),
            csv="scores",
            shows={"markdown": spread if judged else Format(), "page": Format()},
            about="share of held-out pairs with the chosen completion above the rejected one",
            falling=True,
        ),
        *(
            Column(name, name.replace("_", " "), _mean(name, "preference"), csv="scores")
            for name in ("margin", "chosen_shift", "rejected_shift")
        ),
        Column(
            "length",
            "length",
            _mean("length", "generation"),
            csv="scores",
            shows={"markdown": Format(1), "page": Format(1)},
            about="tokens",
        ),
        *(
            Column(name, name.replace("_", " "), _mean(name, "generation"), csv="scores")
            for name in ("distinct_1", "distinct_2", *DEGENERATE)
        ),
        Column("degenerate", "degenerate", lambda entry: is_degenerate(entry.setting), csv="scores"),
        Column("clipped_share", "clipped", _of_training("clipped_share"), csv="scores"),
        Column("final_loss", "last loss", _of_training("final_loss"), csv="scores"),
    ]


def _task_columns(groups: Sequence[Group]) -> Iterator[Column]:
    """Yield the metrics of tasks without columns of their own (BLiMP, …), each with its standard error over items."""
    percent = Format(1, percent=True)
    shows: dict[Output, Format] = {"markdown": percent, "terminal": percent}
    yield Column("blimp", "BLiMP", _mean("acc", "blimp"), unit="%", shows=shows)
    records = [record for group in groups for record in group.records]
    measured = sorted({(m.task, m.name) for record in records for m in record.metrics if m.task not in OWN_TASKS})
    for task, name in measured:
        share = name.startswith("acc")
        label = task if name == "acc" else f"{task} {name}"
        shows = {"page": Format(1 if share else 3, percent=share, label=label)}
        if task != "blimp" and name == next((one for one in SHARES if (task, one) in measured), None):
            shows["markdown"] = Format(1, "spread", percent=True)
        yield Column(
            f"{task}_{name}",
            task,
            _mean(name, task),
            unit="%" if share or "markdown" in shows else "",
            csv="tasks",
            shows=shows,
            falling=True,
        )
        yield Column(f"{task}_{name}_stderr", f"{label}, error", _task_error(name, task), csv="tasks")
        if any(task in record.outcomes and record.outcomes[task].metric == name for record in records):
            yield from tested_columns(task, name, label)


def _run_columns(*, judged: bool) -> list[Column]:
    """Return what validation chose by, how many runs there were, and how they ended."""
    return [
        Column(
            "seeds_validation",
            "validation seeds",
            lambda entry: len(values(entry.setting.validation, "target")),
            csv="validation",
        ),
        Column(
            "validation_target",
            lambda comparison: f"validation {target_short(comparison.group)}",
            _validation("target"),
            csv="validation",
            shows={"markdown": Format(), "page": Format()},
            by_split="test",
            about="what chose the best setting",
            falling=True,
        ),
        Column(
            f"validation_{REWARD if judged else GOLD_REWARD}",
            "validation reward",
            _validation(GOLD_REWARD),
            csv="validation",
        ),
        Column("validation_kl", "validation KL", _validation("kl"), csv="validation"),
        Column("seeds_test", "test seeds", lambda entry: len(values(entry.setting.test, "target")), csv="test"),
        Column("interval", "interval", lambda entry: score_interval(entry.setting.test).source, csv="test"),
        Column("seeds", "seeds", _seeds, shows={"markdown": Format()}),
        Column(
            "troubles",
            "runs that ended badly",
            lambda entry: troubles(entry.setting) or None,
            shows={"markdown": Format(), "page": Format(label="ended badly")},
            by_split="both",
        ),
        Column("runs", "runs", lambda entry: " ".join(run_keys(entry.setting)), csv="runs"),
        Column(
            "key",
            "run",
            lambda entry: short_keys(entry.setting),
            shows={"markdown": Format(), "page": Format(), "terminal": Format()},
            numeric=False,
            by_split="both",
            about="key of its first run, and how many more there are",
        ),
        Column(
            "run_count",
            "runs",
            lambda entry: len({record.key for record in entry.setting.every_record}),
            shows={"page": Format()},
            by_split="both",
            about="all runs of the setting",
        ),
        Column(
            "train_seconds",
            "training",
            _trained(lambda setting: total_cost(setting).train_seconds),
            unit="s",
            shows={"page": Format(style="whole")},
            by_split="both",
            about="all runs of the setting together",
        ),
        *(Column(status, status, _ended(status), csv="runs") for status in STATUSES),
    ]


def _sweep_columns() -> list[Column]:
    """Return what the settings of an objective say together, on validation prompts."""
    shows: dict[Output, Format] = {"sweeps": Format()}
    spread: dict[str, Callable[[ObjectiveResult], Value]] = {
        "best": lambda result: result.sensitivity.best,
        "median": lambda result: result.sensitivity.median,
        "worst": lambda result: result.sensitivity.worst,
    }
    parts: dict[str, Callable[[ObjectiveResult], Value]] = {
        "seed": lambda result: result.components.seed if result.components else None,
        "prompt": lambda result: result.components.prompt if result.components else None,
    }
    return [
        Column("settings", "settings", of_result(lambda result: result.sensitivity.n), shows=shows),
        *(
            Column(f"sensitivity_{n}", _target_of(n), of_result(get), csv="sweep", shows=shows)
            for n, get in spread.items()
        ),
        *(Column(f"kl_budget_{size}", f"{size} budget", _budget(i), csv="sweep") for i, size in enumerate(SIZES)),
        *(
            Column(f"reward_at_kl_{size}", _budget_label(i), _reward_within(i), csv="sweep", shows=shows)
            for i, size in enumerate(SIZES)
        ),
        Column("hypervolume", "area", of_result(lambda result: result.hypervolume), csv="sweep", shows=shows),
        Column(
            "importances",
            "what mattered",
            of_result(lambda result: result.importances),
            csv="sweep",
            shows=shows,
            numeric=False,
        ),
        *(
            Column(f"variance_{name}", f"variance by {name}", of_result(get), csv="sweep")
            for name, get in parts.items()
        ),
    ]


def _field_columns(groups: Sequence[Group]) -> list[Column]:
    """Return the training fields that differ within a group."""
    names = sorted({name for group in groups for name in group.differing})
    return [Column(name, name, _field(name), csv="fields") for name in names]


def _everywhere(format: Format, *, terminal: Format) -> dict[Output, Format]:
    """Return the outputs of a score: the same format in Markdown, LaTeX and page, and a shorter one on the terminal."""
    return {"markdown": format, "latex": format, "page": format, "terminal": terminal}


def _setting(*, brief: bool) -> Getter:
    return lambda entry: "untrained" if entry.untrained else setting_text(entry.setting, entry.group, brief=brief)


def _field(name: str) -> Getter:
    return _trained(lambda setting: dict(setting.train).get(name))


def _target_of(which: str) -> Heading:
    return lambda comparison: f"{which} {target_short(comparison.group)}"


def _budget(index: int) -> Getter:
    return lambda entry: entry.comparison.budgets[index] if entry.result else None


def _budget_label(index: int) -> Heading:
    return lambda comparison: f"reward at KL ≤ {comparison.budgets[index]:g}"


def _reward_within(index: int) -> Getter:
    return of_result(lambda result: result.reward_at_kl[index])


def _other_values(entry: Entry) -> str | None:
    if entry.untrained:
        return "untrained"
    parts = [f"{name}={value:g}" for name, value in entry.setting.params if name != "beta"]
    parts += [f"{name}={dict(entry.setting.train).get(name)}" for name in entry.group.differing]
    return ", ".join(parts) or None


def _of_training(name: str) -> Getter:
    def get(entry: Entry) -> Interval:
        setting = entry.setting
        records = setting.test if values(setting.test, "clipped_share", task="train") else setting.validation
        return interval(records, name, task="train")

    return get


def _task_error(name: str, task: str) -> Getter:
    def get(entry: Entry) -> float | None:
        # every seed answers the same items, so their noise does not average out over seeds
        metrics = values(entry.setting.test, name, task=task)
        squares = [metric.stderr**2 for metric in metrics if metric.stderr is not None]
        return math.sqrt(math.fsum(squares) / len(squares)) if squares else None

    return get


def _seeds(entry: Entry) -> str:
    setting = entry.setting
    if setting.test:
        return str(len(values(setting.test, "target")))
    return f"{len(values(setting.validation, 'target'))} (validation)"


def _ended(status: str) -> Getter:
    def get(entry: Entry) -> int:
        ends = {record.key: record.status for record in entry.setting.every_record}
        return sum(end == status for end in ends.values())

    return get

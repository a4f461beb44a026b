"""The columns of the page's leaderboard: what each one holds, how it is told, what it is sorted by."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from bench.core.record import START
from bench.report.analysis.columns import OWN_TASKS
from bench.report.analysis.compared import Compared, score_interval
from bench.report.analysis.settings import Group, Setting, Split, interval, values
from bench.report.tables.leaderboard import total_cost
from bench.report.tables.text import NOTHING, letters_text, number, p_text, reward_label, target_label
from bench.stats.intervals import Interval

WIDE, EDGE = 90, 4
"""Width of a drawn interval and the margin at its ends, in its own units."""

Shown = Literal["both", "test", "validation"]


@dataclass(frozen=True)
class Column:
    """One column: its key, the split with which it is shown, and whether a first sort puts high values on top."""

    name: str
    label: str
    unit: str = ""
    about: str = ""
    numeric: bool = True
    shown: Shown = "both"
    falling: bool = False


@dataclass(frozen=True)
class Plot:
    """An interval drawn on the scale that the rows of a column share, in a box of ``WIDE`` × 12.

    ``low`` and ``high`` are the line's ends (None: no interval), ``mean`` the dot, ``zero`` the tick at 0 (None: it is
    off the scale), ``off`` the end of the scale that the mean lies beyond ("left", "right" or "").
    """

    low: float | None
    mean: float
    high: float | None
    zero: float | None
    off: str


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what stands after it in small, and what it is sorted by (None: always last)."""

    text: str = NOTHING
    spread: str = ""
    key: str | float | None = None
    plot: Plot | None = None


Maker = Callable[[Setting], Cell]


def columns(compared: Compared) -> list[tuple[Column, Maker]]:
    """Return every column that the page may have, with the function that makes a setting's cell of it."""
    group = compared.group
    made: list[tuple[Column, Maker]] = [
        (
            Column("rank", "#", about="place by test target"),
            lambda s: _plain(compared.rows[s.objective].rank if s.best else None),
        ),
        (Column("objective", "objective", numeric=False), lambda s: Cell(s.objective, key=s.objective)),
        (Column("beta", "β"), lambda s: _plain(None if s.objective == START else s.param("beta"))),
    ]
    if len({setting.learning_rate for setting in group.settings}) > 1:
        rate = Column("learning_rate", "learning rate")
        made.append((rate, lambda s: _plain(None if s.objective == START else s.learning_rate)))
    made.append((Column("others", "other values", numeric=False), lambda s: _others(s, group)))
    made += [*_measured(compared, "test"), *_measured(compared, "validation")]
    made += [
        (Column("runs", "runs", about="completed runs ÷ all runs"), _runs),
        (Column("train_seconds", "training", "s", about="all runs of the setting together"), _seconds),
    ]
    return made


def _measured(compared: Compared, split: Split) -> list[tuple[Column, Maker]]:
    group = compared.group

    def of(name: str, task: str | None, *, places: int = 3, spread: bool = False, factor: float = 1.0) -> Maker:
        return lambda s: _mean(interval(s.records(split), name, task=task), places, spread=spread, factor=factor)

    def crossed(name: str, places: int) -> Maker:
        return lambda s: _mean(score_interval(s.records(split), name=name), places, spread=True)

    made: list[tuple[Column, Maker]] = [
        (
            Column("target", target_label(group), about="mean and its 95 % interval", falling=True),
            _target(group, split),
        ),
        (
            Column("to_first", "to first", about="target minus the first row's, paired; p after Holm", falling=True),
            lambda s: _gap(compared, s) if split == "test" else Cell(),
        ),
        (
            Column("letters", "ties", about="rows with a common letter are not told apart", numeric=False),
            lambda s: _letters(compared, s) if split == "test" else Cell(),
        ),
        (
            Column("improvement", "beats baseline", "%", f"on a prompt, over {compared.baseline}", falling=True),
            lambda s: _improvement(compared, s) if split == "test" else Cell(),
        ),
        (Column("gold_reward", reward_label(group), falling=True), crossed("gold_reward", 3)),
        (Column("kl", "KL", "nats"), crossed("kl", 1)),
        (Column("win_rate", "wins", "%", "win rate against the start model", falling=True),
         of("win_rate", "judge", places=1, spread=True)),
        (Column("lc_win_rate", "LC wins", "%", "length-controlled win rate against the start model", falling=True),
         of("lc_win_rate", "judge", places=1)),
        (Column("accuracy", "accuracy", "%", "reward accuracy: chosen above rejected on held-out pairs", falling=True),
         of("accuracy", "preference", places=1, factor=100)),
        (Column("length", "length", "tokens"), of("length", "generation", places=1)),
    ]  # fmt: skip
    tasks = {
        (metric.task, metric.name)
        for s in every_setting(group)
        for r in (*s.test, *s.validation)
        for metric in r.metrics
    }
    for task, name in sorted(pair for pair in tasks if pair[0] not in OWN_TASKS):
        share = name.startswith("acc")
        label = task if name == "acc" else f"{task} {name}"
        maker = of(name, task, places=1 if share else 3, factor=100 if share else 1)
        made.append((Column(f"{task}.{name}", label, "%" if share else "", falling=True), maker))
    if split == "test":
        chosen = Column("selected_by", "validation J", about="what chose the best setting", falling=True)
        made.append((chosen, lambda s: _mean(interval(s.validation, "target"), 3)))
    return [(replace(column, name=f"{split}.{column.name}", shown=split), maker) for column, maker in made]


def every_setting(group: Group) -> list[Setting]:
    """Return the settings and the start model."""
    return [*group.settings, *([group.start] if group.start is not None else [])]


def _rank(compared: Compared, setting: Setting) -> Cell:
    return _plain(compared.rows[setting.objective].rank if setting.best else None)


def _plain(value: float | None) -> Cell:
    return Cell() if value is None else Cell(f"{value:g}", key=float(value))


def _mean(found: Interval, places: int, *, spread: bool = False, factor: float = 1.0) -> Cell:
    found = replace(found, mean=factor * found.mean, low=factor * found.low, high=factor * found.high)
    if math.isnan(found.mean):
        return Cell()
    full = number(found, places=places, spread=spread)
    text, _, half = full.partition(" ± ")
    return Cell(text, f"± {half}" if half else "", key=float(f"{found.mean:.6g}"))


def _target(group: Group, split: Split) -> Maker:
    """Return the maker of the cells with the target, whose intervals stand on one scale for all rows of a split."""
    found = [score_interval(setting.records(split)) for setting in every_setting(group)]
    scale = _scale([each for each in found if not math.isnan(each.mean)])

    def cell(setting: Setting) -> Cell:
        one = score_interval(setting.records(split))
        made = _mean(one, 3, spread=True)
        if made.key is None or scale is None:
            return made
        return replace(made, plot=_plot(one, scale))

    return cell


def _scale(found: list[Interval]) -> tuple[float, float] | None:
    """Return what the scale spans: the upper three quarters of the rows, so that one runaway does not flatten all."""
    kept = sorted(found, key=lambda each: each.mean)[len(found) // 4 :]
    ends = [end for each in kept for end in (each.mean, each.low, each.high) if math.isfinite(end)]
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def _plot(found: Interval, scale: tuple[float, float]) -> Plot:
    def at(value: float) -> float:
        share = (value - scale[0]) / (scale[1] - scale[0])
        return round(EDGE + (WIDE - 2 * EDGE) * min(1.0, max(0.0, share)), 1)

    known = not math.isnan(found.half)
    return Plot(
        low=at(found.low) if known else None,
        mean=at(found.mean),
        high=at(found.high) if known else None,
        zero=at(0.0) if scale[0] <= 0 <= scale[1] else None,
        off="left" if found.mean < scale[0] else "right" if found.mean > scale[1] else "",
    )


def _gap(compared: Compared, setting: Setting) -> Cell:
    if not setting.best or compared.rows[setting.objective].rank is None:
        return Cell()
    row = compared.rows[setting.objective]
    if row.rank == 1:
        return Cell("first", key=0.0)
    gap = row.to_first
    if math.isnan(gap.p):
        return Cell()
    made = _mean(gap.difference, 3, spread=True)
    return replace(made, spread=f"{made.spread} p {p_text(gap)}".strip())


def _letters(compared: Compared, setting: Setting) -> Cell:
    letters = compared.rows[setting.objective].letters if setting.best else ""
    return Cell(letters_text(letters), key=letters) if letters else Cell()


def _improvement(compared: Compared, setting: Setting) -> Cell:
    if not setting.best or setting.objective == compared.baseline:
        return Cell()
    return _mean(compared.rows[setting.objective].improvement, 1, spread=True, factor=100)


def _others(setting: Setting, group: Group) -> Cell:
    if setting.objective == START:
        return Cell("untrained")
    parts = [f"{name}={value:g}" for name, value in setting.params if name != "beta"]
    parts += [f"{name}={dict(setting.train).get(name)}" for name in group.differing]
    return Cell(", ".join(parts), key=", ".join(parts)) if parts else Cell()


def _runs(setting: Setting) -> Cell:
    status = {record.key: record.status for record in (*setting.test, *setting.validation)}
    whole = sum(found == "completed" for found in status.values())
    return Cell(f"{whole}" if whole == len(status) else f"{whole} of {len(status)}", key=float(len(status)))


def _seconds(setting: Setting) -> Cell:
    seconds = total_cost(setting)["train_seconds"]
    return Cell(f"{seconds:,.0f}", key=float(f"{seconds:.6g}")) if setting.objective != START else Cell()


def interval_text(setting: Setting) -> str:
    """Return «J = 0.312 ± 0.020 over 3 seeds» of the test prompts."""
    found, seeds = score_interval(setting.test), len(values(setting.test, "target"))
    return f"J = {number(found)} over {seeds} seed{'' if seeds == 1 else 's'}"

"""The figures with one point a setting: what is gained against what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.report.analysis.settings import Group, Setting, Split, interval, plotted_split, values
from bench.report.figures.colours import Look, best_first, looks
from bench.report.figures.grid import arrange, fit, open_page
from bench.report.figures.saving import Drawing, Row, numbers
from bench.report.figures.style import Style, legend, new_figure
from bench.report.tables.columns import OWN_TASKS
from bench.report.tables.text import reward_label

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

NO_TAX = (*OWN_TASKS, "exact")
"""Tasks that are not a measure of what alignment costs elsewhere."""


def length_vs_reward(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw the reward of each setting against the length of its completions (tokens): does reward buy length?"""
    split = plotted_split(group)
    rows = point_rows(group, "length", "gold_reward", split)
    if len(rows) < 2:
        return
    look = looks(best_first(group))
    figure = new_figure(style, height=2.8)
    axes = figure.subplots()
    scatter(axes, rows, look, x="length", y="gold_reward")
    axes.set_xlabel(f"length of completions, {split} [tokens]")
    axes.set_ylabel(f"{reward_label(group)}, {split}")
    legend(figure, style, *entries(axes, look))
    yield Drawing("length-vs-reward", figure, rows)


def alignment_tax(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw each lm-eval task's score against the KL to the start model (nats), one panel a task."""
    split = plotted_split(group)
    tasks = {task: _task_rows(group, task, split) for task in _tasks(group)}
    tasks = {task: rows for task, rows in tasks.items() if any(row["kind"] == "setting" for row in rows)}
    look = looks(best_first(group))
    grid = fit(max(1, len(tasks)), layers=1, style=style)
    for page, first in enumerate(range(0, len(tasks), grid.items), start=1):
        page_tasks = dict(list(tasks.items())[first : first + grid.items])
        figure, columns = open_page(grid, len(page_tasks), style=style)
        for (axes, *_), ((task, name), rows) in zip(columns, page_tasks.items(), strict=True):
            scatter(axes, rows, look, x="kl", y="score")
            axes.set_title(f"{task} {name}", pad=3)
            axes.margins(0.08, 0.12)
        top = legend(figure, style, *entries(figure.axes[0], look))
        below = f"KL to the start model, {split} [nats]"
        arrange(figure, columns, grid, style=style, labels=["score"], xlabel=below, top=top, shared=False)
        yield Drawing(
            "alignment-tax" if page == 1 else f"alignment-tax-{page}",
            figure,
            [row for part in page_tasks.values() for row in part],
        )


def point_rows(group: Group, x: str, y: str, split: Split) -> list[Row]:
    """Return a row a setting that has both metrics, with intervals; the start model is the first row."""
    start = [group.start] if group.start is not None else []
    return [_row(setting, x, y, split) for setting in [*start, *group.settings] if _has(setting, (x, y), split)]


def scatter(axes: "Axes", rows: Sequence[Row], look: Mapping[str, Look], *, x: str, y: str) -> None:
    """Draw rows: a marker a setting, a star for the best one of a named objective, a ring for the start model."""
    from matplotlib import rcParams

    size = rcParams["lines.markersize"]
    # the best objectives are drawn last, above the others
    for at, (objective, one) in enumerate(reversed(list(look.items()))):
        points = [row for row in rows if row["objective"] == objective and row["kind"] == "setting"]
        own: Row = {"color": one.color, "linestyle": "", "zorder": 2 + at / len(look)}
        plain = [row for row in points if not (row["best"] and one.named)]
        shape: Row = {"markersize": size if one.named else 0.6 * size, "markeredgewidth": 0, "alpha": 0.9}
        label = objective if points and one.named else "_"
        axes.plot(numbers(plain, x), numbers(plain, y), marker=one.marker, label=label, **own, **shape)
        for row in points:
            if row["best"] and one.named:
                own["zorder"] = 5
                axes.plot([row[x]], [row[y]], "*", markersize=2.5 * size, mec="black", mew=0.15 * size, **own)
                axes.plot([row[x]], [row[y]], one.marker, color="white", markersize=0.6 * size, mew=0, zorder=6)
    start = [row for row in rows if row["kind"] == "start"]
    axes.plot(numbers(start, x), numbers(start, y), "o", mfc="white", mec="black", markersize=1.25 * size, zorder=7)
    axes.margins(x=0.06, y=0.08)


def entries(axes: "Axes", look: Mapping[str, Look], *more: "Artist") -> "tuple[list[Artist], list[str]]":
    """Return a legend's entries for ``scatter``: objectives best first, what belongs to all, and ``more`` handles."""
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    size = rcParams["lines.markersize"]
    drawn = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    handles = [drawn[name] for name in look if name in drawn]
    pale = [one for one in look.values() if not one.named]
    ring: Row = {"linestyle": "", "mfc": "white", "mec": "black"}
    if pale:
        handles.append(
            Line2D([], [], marker="o", linestyle="", color=pale[0].color, mew=0, label=f"{len(pale)} others")
        )
    handles.append(Line2D([], [], marker="*", markersize=2.2 * size, label="best setting", **ring))
    handles.append(Line2D([], [], marker="o", markersize=1.25 * size, label="start model", **ring))
    handles += more
    return handles, [handle.get_label() for handle in handles]


def _row(setting: Setting, x: str, y: str, split: Split) -> Row:
    intervals = {name: interval(setting.records(split), name) for name in (x, y)}
    return {**_named(setting, split)} | {
        f"{name}{end}": value
        for name, one in intervals.items()
        for end, value in (("", one.mean), ("_low", one.low), ("_high", one.high))
    }


def _task_rows(group: Group, key: tuple[str, str], split: Split) -> list[Row]:
    task, name = key
    start = [group.start] if group.start is not None else []
    rows = []
    for setting in [*start, *group.settings]:
        records = setting.records(split)
        if values(records, "kl") and values(records, name, task=task):
            score = interval(records, name, task=task)
            numbers = {"score": score.mean, "score_low": score.low, "score_high": score.high}
            rows.append(
                {**_named(setting, split), "task": task, "metric": name, "kl": interval(records, "kl").mean} | numbers
            )
    return rows


def _named(setting: Setting, split: Split) -> Row:
    kind = "setting" if setting.params or setting.objective != "start" else "start"
    same = {"objective": setting.objective, "setting": setting.params_text, "rate": setting.learning_rate}
    return {"kind": kind, **same, "split": split, "best": setting.best}


def _has(setting: Setting, names: Sequence[str], split: Split) -> bool:
    return all(values(setting.records(split), name) for name in names)


def _tasks(group: Group) -> list[tuple[str, str]]:
    records = (record for setting in group.settings for record in (*setting.validation, *setting.test))
    return sorted({(m.task, m.name) for record in records for m in record.metrics if not m.task.startswith(NO_TAX)})

"""The figures of the verdict: each objective's difference to the first row, and the looks of a race."""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from bench.report.analysis.comparison import Comparison
from bench.report.figures.saving import Drawing, Row
from bench.report.figures.style import BLUE, GREY, LETTER, ORANGE, VERMILLION, Columns, Style, legend, new_figure
from bench.report.tables.text import is_rate, target_short
from bench.stats.race import Look, Race
from bench.stats.verdicts import PairVerdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

WORDS = {"first": "#000000", "better": BLUE, "equal": BLUE, "undecided": ORANGE, "worse": VERMILLION}
MARKS = {"first": "*", "better": "^", "equal": "s", "undecided": "o", "worse": "v"}
"""Each word's colour and marker: one may be read where the other is not."""
DROPPED = "#9A9A9A"
START_NAME = "start model"
FAR = 8.0
"""A mean this many times as low as median and margin together is an arrow at the edge: it would press all flat."""
LINE = 0.15
"""Height of a row, inches of paper."""


def decision(comparison: Comparison, style: Style) -> Iterator[Drawing]:
    """Draw each tested objective's target minus the first row's, with simultaneous intervals and the margin's band.

    The start model stands last. After a race a dropped objective is grey, with the seeds at which it was dropped.
    """
    rows = _rows(comparison)
    if len(rows) < 2:
        return
    most = int((style.tallest / style.scale - 1.1) / LINE)
    kept = rows if len(rows) <= most else [*rows[: most - 1], rows[-1]]
    columns: Columns = 1 if max(len(_label(row)) for row in kept) <= 16 else 2
    figure = new_figure(style, height=0.75 + LINE * len(kept), columns=columns)
    axes = figure.subplots()
    _draw(axes, kept, margin=comparison.verdict.margin)
    axes.set_yticks(range(len(kept)), [_label(row) for row in kept])
    axes.set_ylim(len(kept) - 0.4, -0.6)
    for label, row in zip(axes.get_yticklabels(), kept, strict=True):
        label.set_color(_color(row))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    part = "" if len(kept) == len(rows) else f",\nthe best {len(kept) - 1} of {len(rows) - 1}"
    unit = " [points]" if is_rate(comparison.group) else ""
    axes.set_xlabel(f"test {target_short(comparison.group)} minus that of {rows[0]['objective']}{unit}{part}")
    legend(figure, style, *legend_of_words([row["word"] for row in kept]))
    yield Drawing("decision", figure, rows)


def race_history(comparison: Comparison, style: Style) -> Iterator[Drawing]:
    """Draw what each look of a race said of each objective, against the first of that look."""
    race = comparison.group.race
    if race is None or not race.looks:
        return
    arms = [name for name in comparison.results if any(name in look.arms for look in race.looks)]
    rows = [
        _look_row(name, look, number) for name in arms for number, look in enumerate(race.looks, 1) if name in look.arms
    ]
    wide = max(map(len, arms)) * LETTER * style.font / 72 + 0.4 * style.scale * (len(race.looks) + 1)
    figure = new_figure(style, height=0.75 + LINE * len(arms), columns=1 if wide < style.width(1) else 2)
    axes = figure.subplots()
    _draw_looks(axes, rows, arms, race)
    legend(figure, style, *legend_of_words([row["word"] for row in rows]))
    yield Drawing("race", figure, rows)


def legend_of_words(words: Sequence[str]) -> "tuple[list[Line2D], list[str]]":
    """Return the legend's entries of the words that are drawn."""
    from matplotlib.lines import Line2D

    known = [word for word in WORDS if word in words]
    return [Line2D([], [], color=WORDS[word], marker=MARKS[word], linestyle="") for word in known], known


def _rows(comparison: Comparison) -> list[Row]:
    tested = [result for result in comparison.results.values() if result.rank is not None]
    if not tested:
        return []
    seeds = {name: len(rows) for name, rows in _seeds(comparison).items()}
    rows = [
        _row(result.objective, result.to_first, word=result.word or "first", out_at=result.out_at)
        | {"seeds": seeds.get(result.objective)}
        for result in tested
    ]
    if not math.isnan(tested[0].to_start.difference.mean):
        turned = tested[0].to_start.turned
        rows.append(_row(START_NAME, turned, word=turned.word, out_at=None) | {"seeds": None})
    return rows


def _seeds(comparison: Comparison) -> dict[str, list[int]]:
    group = comparison.group
    bests = {name: group.best(name) for name in comparison.results}
    return {
        name: [record.spec.seed for record in best.test if record.status == "completed"]
        for name, best in bests.items()
        if best is not None
    }


def _row(name: str, verdict: PairVerdict, *, word: str, out_at: int | None) -> Row:
    gap = verdict.difference
    mean, low, high = (0.0, 0.0, 0.0) if word == "first" else (gap.mean, gap.low, gap.high)
    numbers = {"difference": mean, "low": low, "high": high, "p": verdict.p, "p_equal": verdict.p_equal}
    return {"objective": name, "word": word, **numbers, "detectable": verdict.detectable, "out_at": out_at}


def _draw(axes: "Axes", rows: Sequence[Row], *, margin: float) -> None:
    from matplotlib import rcParams

    size, width = rcParams["lines.markersize"], rcParams["lines.linewidth"]
    axes.axvspan(-margin, margin, color="#E8E8E8", linewidth=0, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.6 * width, zorder=1)
    known = [row for row in rows if math.isfinite(row["difference"])]
    left, right = _limits(known, margin)
    axes.set_xlim(left, right)
    for at, row in enumerate(rows):
        color = _color(row)
        if math.isfinite(row["low"]) and row["word"] != "first":
            axes.plot([row["low"], row["high"]], [at, at], color=color, linewidth=0.8 * width, zorder=2)
            _open_ends(axes, row, at, left=left, right=right, color=color, size=0.6 * size)
        big = 2.2 if row["word"] == "first" else 1.0
        inside = row["difference"] >= left
        place, mark = (row["difference"], MARKS[row["word"]]) if inside else (left, "<")
        axes.plot([place], [at], mark, color=color, markersize=big * size, zorder=3, clip_on=inside)


def _open_ends(axes: "Axes", row: Row, at: int, *, left: float, right: float, color: str, size: float) -> None:
    """Draw a small arrow at each edge beyond which the row's interval goes on."""
    for edge, mark, beyond in ((left, "<", row["low"] < left), (right, ">", row["high"] > right)):
        if beyond:
            axes.scatter([edge], [at], s=size**2, marker=mark, color=color, zorder=2, clip_on=False)


def _limits(rows: Sequence[Row], margin: float) -> tuple[float, float]:
    """Return the scale: every mean but of those that ran away, and of each interval as much as half the scale again.

    An interval that is longer than that ends in a small arrow.
    """
    means = [row["difference"] for row in rows]
    low, high = max(min(means), -FAR * (margin - median(means))), max([*means, margin])
    room = 0.5 * (high - low)
    ends = [row[end] for row in rows for end in ("low", "high") if math.isfinite(row[end])]
    left, right = max(min([low, -margin, *ends]), low - room), min(max([high, *ends]), high + room)
    edge = 0.04 * (right - left)
    return left - edge, right + edge


def _color(row: Row) -> str:
    return WORDS[row["word"]] if row["out_at"] is None else DROPPED


def _label(row: Row) -> str:
    return row["objective"] if row["out_at"] is None else f"{row['objective']} (out at {row['out_at']})"


def _look_row(name: str, look: Look, number: int) -> Row:
    verdict = look.against_first.get(name)
    gap = None if verdict is None else verdict.difference
    return {
        "objective": name,
        "look": number,
        "seeds": look.seeds,
        "level": look.level,
        "first": look.first,
        "word": "first" if verdict is None else verdict.word,
        "difference": 0.0 if gap is None else gap.mean,
        "low": math.nan if gap is None else gap.low,
        "high": math.nan if gap is None else gap.high,
        "p": math.nan if verdict is None else verdict.p,
        "dropped": name in look.dropped,
    }


def _draw_looks(axes: "Axes", rows: Sequence[Row], arms: Sequence[str], race: Race) -> None:
    from matplotlib import rcParams

    size, width = rcParams["lines.markersize"], rcParams["lines.linewidth"]
    for at, name in enumerate(arms):
        own = [row for row in rows if row["objective"] == name]
        axes.plot([row["look"] for row in own], [at] * len(own), color="#CCCCCC", linewidth=width, zorder=1)
        for row in own:
            big = 2.2 if row["word"] == "first" else 1.3
            mark: Row = {"color": WORDS[row["word"]], "markersize": big * size, "linestyle": "", "zorder": 3}
            axes.plot([row["look"]], [at], marker=MARKS[row["word"]], **mark)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlim(0.5, len(race.terms.looks) + 0.5)
    axes.set_xticks(range(1, len(race.terms.looks) + 1), [str(seeds) for seeds in race.terms.looks])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    ended = "goes on" if race.end is None else race.end
    axes.set_xlabel(f"seeds at each look; the race: {ended}")

"""The reward-KL frontier: what each setting gains in reward, and how far it went from the start for it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.errors import RunError
from bench.report.analysis.settings import Group, Split, plotted_split
from bench.report.figures.colours import best_first, looks
from bench.report.figures.saving import Drawing, Row
from bench.report.figures.scatter import entries, point_rows, scatter
from bench.report.figures.style import GREY, Style, legend, new_figure
from bench.report.tables.text import reward_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def reward_kl_frontier(group: Group, style: Style) -> Iterator[Drawing]:
    """Draw the reward against KL (nats) of every setting, with the Pareto frontier and, where known, the optimum.

    The optimum is the frontier that no policy can beat, which is known on problems small enough to enumerate; on it
    π* is marked, the policy of the highest target E[r] − β₀·KL.
    """
    split = plotted_split(group)
    rows = point_rows(group, "kl", "gold_reward", split)
    if not any(row["kind"] == "setting" for row in rows):
        return
    edge = pareto([(row["kl"], row["gold_reward"]) for row in rows])
    rows = [{**row, "frontier": at in edge} for at, row in enumerate(rows)]
    known = _optimum(group, split)
    look = looks(best_first(group))
    figure = new_figure(style, height=3.0)
    axes = figure.subplots()
    scatter(axes, rows, look, x="kl", y="gold_reward")
    lines = [_draw_edge(axes, rows), *_draw_optimum(axes, known)]
    axes.set_xlabel(f"KL to the start model, {split} [nats]")
    axes.set_ylabel(f"{reward_label(group)}, {split}")
    legend(figure, style, *entries(axes, look, *lines))
    yield Drawing("reward-kl-frontier", figure, rows + known)


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Return the indices of the points (cost, gain) that no other point beats: no cheaper one gains as much."""
    order = sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1]))
    best, kept = float("-inf"), set()
    for at in order:
        if points[at][1] > best:
            best = points[at][1]
            kept.add(at)
    return kept


def _optimum(group: Group, split: Split) -> list[Row]:
    """Return the true frontier's points, cheapest first, that of the highest target as «target optimum».

    Raises RunError where the start model's record does not hold as many KLs as rewards.
    """
    records = group.start.records(split) if group.start is not None else ()
    curve = next((r.provenance["frontier"][split] for r in records if split in r.provenance.get("frontier", {})), None)
    if not curve:
        return []
    if len(curve["kl"]) != len(curve["reward"]):
        raise RunError(
            f"the start model's record holds {len(curve['kl'])} KLs and {len(curve['reward'])} rewards of the optimum",
            fix="delete its evaluation folder; it is evaluated again",
        )
    points = sorted(zip(map(float, curve["kl"]), map(float, curve["reward"]), strict=True))
    rows: list[Row] = [
        {"kind": "optimum", "objective": "", "split": split, "kl": kl, "gold_reward": reward} for kl, reward in points
    ]
    top = max(rows, key=lambda row: row["gold_reward"] - group.beta0 * row["kl"], default=None)
    return rows + ([{**top, "kind": "target optimum"}] if top else [])


def _draw_edge(axes: "Axes", rows: Sequence[Row]) -> "Line2D":
    edge = sorted((row["kl"], row["gold_reward"]) for row in rows if row["frontier"])
    (line,) = axes.plot(
        *zip(*edge, strict=True), color=GREY, linewidth=0.9, drawstyle="steps-post", label="Pareto frontier", zorder=1
    )
    return line


def _draw_optimum(axes: "Axes", rows: Sequence[Row]) -> "list[Line2D]":
    """Draw the optimum without widening the scale beyond its π*: the curve goes on for ever."""
    if not rows:
        return []
    low, high = axes.get_xlim()
    *curve, top = rows
    (line,) = axes.plot(
        [row["kl"] for row in curve], [row["gold_reward"] for row in curve], color="black", label="optimum", zorder=1.5
    )
    mark = axes.plot([top["kl"]], [top["gold_reward"]], "D", color="black", label="π* at β₀", zorder=7)
    right = max(high, 1.08 * top["kl"])
    within = [row["gold_reward"] for row in curve if low <= row["kl"] <= right]
    bottom, upper = axes.dataLim.y0, max([axes.get_ylim()[1], *within]) if within else axes.get_ylim()[1]
    axes.set_xlim(low, right)
    axes.set_ylim(axes.get_ylim()[0] if bottom else None, upper + 0.04 * (upper - axes.get_ylim()[0]))
    return [line, *mark]

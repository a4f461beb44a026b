"""Reports of inspections: one row a model, one row a layer, and the figure over losses."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.inspection import GROUPS, SETS, Inspection, WeightChange
from bench.report.figures.colours import colour_of, looks
from bench.report.figures.saving import FORMATS, Drawing, Row, save
from bench.report.figures.style import GREY, Style, house, legend, new_figure, style_of
from bench.report.tables.leaderboard import csv_text
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "inspect"
SIGNS = {
    "aligned_positive": "aligned\na ≥ 0",
    "aligned_negative": "aligned\na < 0",
    "anti_positive": "anti\na ≥ 0",
    "anti_negative": "anti\na < 0",
    "all": "all\nfour",
    "toward": "all\ntoward",
}
"""What stands below a group's bars."""
DASHES = ("-", "--", ":", "-.")
HATCHES = ("", "///", "...", "xxx")


def write_inspected(
    folder: Path, inspections: Sequence[Inspection], *, style: str = "paper", formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write ``inspect.csv`` (a row a model), ``inspect-layers.csv`` and the figure into ``folder``; return the paths.

    Raises RunError for a full disk and the like.
    """
    from pandas import DataFrame

    tables = {NAME: summary_rows(inspections), f"{NAME}-layers": layer_rows(inspections)}
    written = []
    for name, rows in tables.items():
        written.append(folder / f"{name}.csv")
        write_text_whole(written[-1], csv_text(DataFrame(rows)))
    look = style_of(style)
    with house(look):
        drawing = draw_inspected(inspections, look)
        written += save(drawing.figure, folder / drawing.name, formats=formats)
    return written


def summary_rows(inspections: Sequence[Inspection]) -> list[Row]:
    """One row a model: what of it moved, and whose share of the effect is whose; shares are fractions."""
    rows = []
    for one, name in zip(inspections, labels(inspections), strict=True):
        projection = one.projection
        effect = projection.trained - projection.start
        row: Row = {
            "key": one.key,
            "model": one.model,
            "label": name,
            "objective": one.objective,
            "seed": one.seed,
            "weight_change": _ratio([*(layer.weights["all"] for layer in one.layers), *_all(one.outside)]),
            "activation_shift": _mean([layer.absolute for layer in one.layers]),
            "last_cosine": one.layers[-1].cosine,
            "probe_layer": one.probe.layer,
            "probe_accuracy": one.probe.accuracy,
            "probe_low": one.probe.low,
            "probe_high": one.probe.high,
            "probe_chance": one.probe.chance,
            "projection_start": projection.start,
            "projection_trained": projection.trained,
            "projection_change": effect,
            "projection_by_mlps": projection.mlps,
            "projection_by_attention": projection.attention,
            "projection_by_embeddings": projection.embeddings,
        }
        for group in GROUPS:
            row |= {f"{group}_change": one.groups[group].change, f"{group}_share": one.groups[group].share}
        for measure in one.patching:
            row |= {f"{measure.name}_effect": measure.effect, f"{measure.name}_effect_error": measure.effect_error}
            for which in SETS:
                patch = measure.sets[which]
                row |= {f"{measure.name}_restored_{which}": patch.restored}
                row |= {f"{measure.name}_removed_{which}": patch.removed}
        rows.append(row)
    return rows


def layer_rows(inspections: Sequence[Inspection]) -> list[Row]:
    """One row a model and layer."""
    return [
        {
            "key": one.key,
            "label": name,
            "layer": layer.layer,
            **{f"weights_{kind}": change.change for kind, change in layer.weights.items()},
            **{f"rank_{kind}": c.effective_rank for kind, c in layer.weights.items() if c.effective_rank is not None},
            **{f"top_share_{kind}": c.top_share for kind, c in layer.weights.items() if c.top_share is not None},
            "activation_absolute": layer.absolute,
            "activation_systematic": layer.systematic,
            "activation_signed": layer.signed,
            "cosine": layer.cosine,
            "distance": layer.distance,
            "written": layer.written,
            "attended": layer.attended,
            **layer.groups,
        }
        for one, name in zip(inspections, labels(inspections), strict=True)
        for layer in one.layers
    ]


def labels(inspections: Sequence[Inspection]) -> list[str]:
    """What each model is called: its objective, with parameters, seed and key as far as they tell it from others."""

    def named(one: Inspection, depth: int) -> str:
        parts = [one.objective or one.label, *([one.label.partition(" ")[2]] if one.objective else [])]
        seed = [] if one.seed is None else [f"seed {one.seed}"]
        return " ".join([part for part in (parts + seed + [one.key[:6]])[:depth] if part])

    names = []
    for one in inspections:
        others = [other for other in inspections if other.key != one.key]
        depth = next((d for d in range(1, 4) if all(named(one, d) != named(o, d) for o in others)), 4)
        names.append(named(one, depth))
    return names


def draw_inspected(inspections: Sequence[Inspection], style: Style) -> Drawing:
    """Draw weights and activations by layer, the four groups' shift, and what patching restores, over all models."""
    names = labels(inspections)
    figure = new_figure(style, height=4.4, columns=2)
    panels = figure.subplots(2, 2)
    each = _looks(inspections)
    for one, name, look in zip(inspections, names, each, strict=True):
        places = [layer.layer for layer in one.layers]
        line: Row = {"color": look["color"], "linestyle": look["dash"], "marker": look["marker"]}
        weights = [_percent(layer.weights["all"].change) for layer in one.layers]
        panels[0][0].plot(places, weights, label=name, **line)
        panels[0][1].plot(places, [_percent(layer.absolute) for layer in one.layers], **line)
    for axes, text in zip(panels[0], ("‖ΔW‖ / ‖W‖ [%]", "mean |a′ − a| / spread [%]"), strict=True):
        axes.set(xlabel="layer", ylabel=text)
        axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0][0].set_title("Weights")
    panels[0][1].set_title("Activations of MLP neurons")
    _groups(panels[1][0], inspections, each)
    _patching(panels[1][1], inspections, each)
    handles, texts = panels[0][0].get_legend_handles_labels()
    legend(figure, style, handles, texts)
    return Drawing(NAME, figure, summary_rows(inspections))


def _groups(axes: "Axes", inspections: Sequence[Inspection], each: Sequence[Row]) -> None:
    places = [*GROUPS, "all"]
    for at, (one, look) in enumerate(zip(inspections, each, strict=True)):
        whole = one.projection.trained - one.projection.start
        parts = [*(one.groups[name].change for name in GROUPS), one.projection.mlps]
        values = [100 * part / whole if whole else math.nan for part in parts]
        _bars(axes, at, len(inspections), values, look)
    _ticks(axes, places)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set(ylabel="of the projection's change [%]", title="What MLP neurons add along the probe")


def _patching(axes: "Axes", inspections: Sequence[Inspection], each: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    gold = False
    for at, (one, look) in enumerate(zip(inspections, each, strict=True)):
        for measure in one.patching:
            values = [_percent(measure.sets[name].restored) for name in SETS]
            if measure.name == "probe":
                _bars(axes, at, len(inspections), values, look)
                continue
            gold = True
            places = [_bar_position(x, at, len(inspections)) for x in range(len(SETS))]
            errors = [_percent(measure.sets[name].restored_error) for name in SETS]
            mark: Row = {"mfc": "white", "mec": "black", "ecolor": "black", "elinewidth": 0.6, "markersize": 3.2}
            axes.errorbar(places, values, yerr=errors, fmt="D", zorder=4, **mark)
    _ticks(axes, SETS)
    for height in (0, 100):
        axes.axhline(height, color=GREY, linewidth=0.6, linestyle="-" if height == 0 else (0, (4, 2)))
    axes.set(ylabel="effect restored [%]", title="Start model with patched neurons")
    if gold:
        diamond: Row = {"marker": "D", "linestyle": "", "mfc": "white", "mec": "black", "markersize": 3.2}
        bar: Row = {"marker": "s", "linestyle": "", "color": GREY, "label": "probe"}
        axes.legend(
            handles=[Line2D([], [], **bar), Line2D([], [], label="gold reward", **diamond)], loc="upper left", ncols=2
        )
        axes.set_ylim(top=max(axes.get_ylim()[1], 128))


def _bars(axes: "Axes", at: int, count: int, values: Sequence[float], look: Row) -> None:
    places = [_bar_position(x, at, count) for x in range(len(values))]
    axes.bar(places, values, width=0.8 / count, color=look["color"], hatch=look["hatch"], edgecolor="white", lw=0.3)


def _bar_position(x: int, at: int, count: int) -> float:
    return x + (at + 0.5) * 0.8 / count - 0.4


def _ticks(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), [SIGNS[name] for name in names])
    axes.grid(axis="x", visible=False)


def _looks(inspections: Sequence[Inspection]) -> list[Row]:
    """Colour by objective; of one objective's models each has another dash and hatch."""
    names = [one.objective or one.label for one in inspections]
    marks = looks(sorted(set(names)))
    styles: list[Row] = []
    seen: dict[str, int] = {}
    for name in names:
        color = colour_of(name)
        turn = seen[color] = seen.get(color, -1) + 1
        dash, hatch = DASHES[turn % len(DASHES)], HATCHES[turn % len(HATCHES)]
        styles.append({"color": color, "marker": marks[name].marker, "dash": dash, "hatch": hatch})
    return styles


def _all(outside: dict[str, WeightChange]) -> list[WeightChange]:
    return [outside["all"]] if "all" in outside else []


def _ratio(changes: Sequence[WeightChange]) -> float | None:
    size = math.hypot(*(change.norm for change in changes))
    return math.hypot(*(change.moved for change in changes)) / size if size else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _percent(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def number_text(value: float | None, *, percent: bool = False, places: int = 1) -> str:
    """A number for a terminal, a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value if percent else value:z.{places}f}".replace("-", "−")

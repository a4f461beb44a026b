"""The report of iterated runs: one row a round as CSV, a figure by round, and the tables that end a command."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.artifacts import finished
from bench.core.record import RunRecord
from bench.core.results import read_record
from bench.core.specs import EvaluationSpec
from bench.errors import RunError
from bench.report.figures.colours import Look, looks
from bench.report.figures.saving import FORMATS, Row, save
from bench.report.figures.style import GREY, house, legend, new_figure, style_of
from bench.stats.intervals import mean_interval
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

FOLDER, NAME = "iterations", "iterations"
GOLD, REWARD_BY = "gold", "reward_by"
"""Who gives the reward where the suite does, and the field that names it."""
MEASURES = ("target", "gold_reward", "kl", "length", "win_rate")
ASIDE = ("distinct_2",)
"""Metrics that stand in the CSV alone."""
COLUMNS = (
    "loop", "suite", "objective", "setting", "judge", "pairs_from", "reference", "prompts", "samples", "fresh",
    "temperature", "seed", "round", "split", "status", *MEASURES, *ASIDE, "target_stderr", "pairs", "ties", "unjudged",
    "label_mean", "run", "evaluation",
)  # fmt: skip
PANELS = (
    ("target", "target J"),
    ("gold_reward", "{reward}"),
    ("kl", "KL to the first start [nats]"),
    ("length", "length [tokens]"),
)
LEAST_SPAN = 0.2
"""Of the axis of lengths, as a share of the longest: less would make noise look like a trend."""
Dash = str | tuple[float, tuple[float, ...]]
DASHES: tuple[Dash, ...] = ("-", (0, (4, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))


def write_iterations(results: Path) -> tuple[list[Path], list[Row]]:
    """Write ``iterations.csv`` and the figure of every loop under ``results``; return what was written, and the rows.

    Raises:
        RunError: a damaged record, or nothing can be written.
    """
    from pandas import DataFrame

    from bench.report.tables.leaderboard import csv_text

    rows = round_rows(results)
    if not rows:
        return [], []
    written = [results / FOLDER / f"{NAME}.csv"]
    named, columns = _files_rows(rows)
    write_text_whole(written[0], csv_text(DataFrame(named, columns=columns)))
    for suite in sorted({row["suite"] for row in rows}):
        own = [row for row in rows if row["suite"] == suite and row["split"] == "test"]
        written += draw(own, results / FOLDER / f"{NAME}-{suite}")
    return written, rows


def round_rows(results: Path) -> list[Row]:
    """Return a row for each round of each loop and each split; round 0 is the first start model."""
    start = [read_record(folder) for folder in finished(results, f"{FOLDER}/start/runs/*/evals/*")]
    rows: list[Row] = []
    for path in sorted((results / FOLDER).glob("*/loop.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} cannot be read: {error}", fix="run the same command again: it is written anew"
            ) from error
        rows += _rows_of(path.parent, about, start)
    order = ("suite", "objective", "setting", "judge", "loop", "seed", "split", "round")
    return sorted(rows, key=lambda row: tuple(row[name] for name in order))


def _rows_of(folder: Path, about: Mapping[str, Any], start: Sequence[RunRecord]) -> Iterator[Row]:
    spec = about["spec"]
    same = {
        "loop": folder.name,
        "suite": spec["suite"],
        "objective": spec["objective"],
        "setting": " ".join(f"{name}={value:g}" for name, value in spec["params"].items()),
        "judge": about["judge"],
        "pairs_from": spec["pairs"],
        **{name: spec[name] for name in ("reference", "prompts", "samples", "fresh", "temperature", "seed")},
    }
    by_settings: dict[EvaluationSpec, list[tuple[int, RunRecord]]] = {}
    for path in finished(folder, "round-*/runs/*/evals/*"):
        record, number = read_record(path), int(path.relative_to(folder).parts[0].removeprefix("round-"))
        by_settings.setdefault(_settings(record), []).append((number, record))
    if not by_settings:
        return
    # Rounds that were measured in two ways are told of in the one that most of them have.
    settings = max(by_settings, key=lambda each: (len(by_settings[each]), each.digest()))
    for number, record in by_settings[settings]:
        yield _row(record, same, number=number, counts=_counts(folder / f"round-{number}"))
    for record in start:
        if record.spec.model.content == spec["model"]["content"] and _settings(record) == settings:
            yield _row(record, same, number=0, counts={})


def _settings(record: RunRecord) -> EvaluationSpec:
    """How a record was measured, whichever the split."""
    return record.evaluation.model_copy(update={"against": None, "split": "test"})


def _row(record: RunRecord, same: Row, *, number: int, counts: Mapping[str, object]) -> Row:
    metrics = {name: record.metric(name) for name in (*MEASURES, *ASIDE)}
    target = metrics["target"]
    return {
        **dict.fromkeys(COLUMNS),
        **same,
        "round": number,
        REWARD_BY: record.evaluation.judges[0].name if record.evaluation.judges else GOLD,
        "split": record.evaluation.split,
        "status": record.status,
        **{name: None if metric is None else metric.value for name, metric in metrics.items()},
        "target_stderr": None if target is None else target.stderr,
        **counts,
        "run": record.key,
        "evaluation": record.evaluation_key,
    }


def _counts(folder: Path) -> dict[str, object]:
    try:
        counts = json.loads((folder / "pairs" / "counts.json").read_text(encoding="utf-8"))
        about = json.loads((folder / "labels" / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {**{name: counts.get(name) for name in ("pairs", "ties", "unjudged")}, "label_mean": about.get("mean")}


def variants(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each variant, loops that differ by seed alone, under a name as short as tells them apart."""
    parts = ("objective", "setting", "judge", "pairs_from", "reference", "prompts", "samples", "fresh", "temperature")
    differing = [name for name in parts[1:] if len({row[name] for row in rows}) > 1 and name != "setting"]
    by_objective: dict[str, set[str]] = {}
    for row in rows:
        by_objective.setdefault(row["objective"], set()).add(row["setting"])
    groups: dict[str, list[Row]] = {}
    for row in rows:
        extra = [row["setting"]] if len(by_objective[row["objective"]]) > 1 else []
        extra += [f"{name.removesuffix('_from')} {row[name]}" for name in differing]
        groups.setdefault(", ".join([row["objective"], *map(str, extra)]), []).append(row)
    return dict(sorted(groups.items()))


def draw(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Draw target, KL and length by round: each loop thin, the mean over seeds bold. Returns what was written."""
    style = style_of("paper")
    reward = _reward(rows)
    measures = [(name, label.format(reward=reward)) for name, label in PANELS if any(_known(row[name]) for row in rows)]
    if not measures:
        return []
    if measures[0][0] not in ("target", "gold_reward") and any(_known(row["win_rate"]) for row in rows):
        measures.insert(0, ("win_rate", "wins over the first start model [%]"))
    by_variant = variants(rows)
    look = looks(sorted({row["objective"] for row in rows}))
    # What differs besides the objective is told by the dashes, the same ones for every objective.
    ways = sorted({name.removeprefix(own[0]["objective"]) for name, own in by_variant.items()})
    with house(style):
        across = 2 if len(measures) > 3 else len(measures)
        figure = new_figure(style, height=2.1 * -(-len(measures) // across), columns=2)
        panels = list(figure.subplots(-(-len(measures) // across), across, sharex=True, squeeze=False).flat)
        for spare in panels[len(measures) :]:
            spare.set_axis_off()
        for axes, (name, label) in zip(panels, measures, strict=False):
            for variant, own in by_variant.items():
                objective = own[0]["objective"]
                dash = DASHES[ways.index(variant.removeprefix(objective)) % len(DASHES)]
                _lines(axes, own, name, look=look[objective], dash=dash, label=variant)
            _finish(axes, label, widened=name == "length")
        figure.supxlabel("round (0: the first start model)", fontsize="medium")
        legend(figure, style, *panels[0].get_legend_handles_labels())
        return save(figure, stem, formats=FORMATS)


def _lines(axes: "Axes", rows: Sequence[Row], name: str, *, look: Look, dash: Dash, label: str) -> None:
    loops: dict[str, list[Row]] = {}
    for row in rows:
        if _known(row[name]):
            loops.setdefault(row["loop"], []).append(row)
    for own in loops.values() if len(loops) > 1 else ():
        own = sorted(own, key=lambda row: row["round"])
        axes.plot([r["round"] for r in own], [r[name] for r in own], color=look.color, linewidth=0.6, alpha=0.45)
    means = {
        number: [row[name] for own in loops.values() for row in own if row["round"] == number]
        for number in sorted({row["round"] for own in loops.values() for row in own})
    }
    axes.plot(
        list(means),
        [sum(values) / len(values) for values in means.values()],
        color=look.color,
        linestyle=dash,
        marker=look.marker,
        label=label,
    )


def _finish(axes: "Axes", label: str, *, widened: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axvline(0, color=GREY, linewidth=0.5, linestyle=(0, (1, 2)))
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axes.get_ylim()
    if widened and (missing := LEAST_SPAN * high - (high - low)) > 0:
        axes.set_ylim(low - missing / 2, high + missing / 2)


def rounds_tables(rows: Sequence[Row]) -> "list[Table]":
    """Return the tables that end a command, one a variant: a row a round, means over seeds on test prompts."""
    by_variant = variants([row for row in rows if row["split"] == "test"])
    return [_table(name, own) for name, own in by_variant.items()]


def _table(name: str, rows: Sequence[Row]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    seeds = len({row["seed"] for row in rows})
    table = Table(
        title=f"{name}: test prompts, {seeds} seed{'s' if seeds > 1 else ''}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    reward = _reward(rows).replace(" ", "\n")
    for column in ("round", "seeds", "target", reward, "KL\nnats", "length", "wins\n%", "pairs", "ties"):
        table.add_column(column, justify="right", no_wrap=True)
    for number in sorted({row["round"] for row in rows}):
        here = [row for row in rows if row["round"] == number and row["status"] == "completed"]
        cells = [_mean(here, one, places=2 if one in ("target", "gold_reward") else 1) for one in MEASURES]
        table.add_row(str(number), str(len(here)), *cells, *(_mean(here, one, places=0) for one in ("pairs", "ties")))
    return table


def _mean(rows: Sequence[Row], name: str, *, places: int) -> str:
    values = [float(row[name]) for row in rows if _known(row[name])]
    if not values:
        return "–"
    interval = mean_interval(values)
    spread = f"±{interval.half:.{places}f}" if name == "target" and not math.isnan(interval.half) else ""
    return f"{interval.mean:z.{places}f}{spread}".replace("-", "−")


def _reward(rows: Sequence[Row]) -> str:
    """Return what the reward of these rows is called: by its judge, or by the suite."""
    names = sorted({row[REWARD_BY] for row in rows})
    return "gold reward" if names == [GOLD] else f"reward by {' and '.join(names)}"


def _files_rows(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Return the rows and columns of the CSV: a judge's reward is ``reward``, with its judge, and no gold reward."""
    if all(row[REWARD_BY] == GOLD for row in rows):
        return list(rows), list(COLUMNS)
    at = COLUMNS.index("gold_reward")
    columns = [*COLUMNS[:at], "reward", REWARD_BY, *COLUMNS[at + 1 :]]
    return [{**row, "reward": row["gold_reward"]} for row in rows], columns


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)

"""The figures of known results of the literature: what the runs of ``bench reproduce`` show."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bench.core.record import START, RunRecord
from bench.core.results import load_records
from bench.core.specs import ProblemSpec
from bench.errors import RunError
from bench.report.figures.colours import colour_of
from bench.report.figures.saving import FORMATS, Drawing, Row, save
from bench.report.figures.style import GREY, Style, house, legend, new_figure, style_of
from bench.report.tables.leaderboard import csv_text
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REACHED = 1e-3
"""KL in nats below which an optimum counts as reached."""
DASHES = ("-", "--", ":", "-.")


def write_reproduced(name: str, results: Path, *, style: str = "paper", formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw the figure of one known result from the records under ``results``; return what was written, sorted."""
    from pandas import DataFrame

    records = [record for record in load_records(results) if record.spec.objective != START]
    written = []
    look = style_of(style)
    with house(look):
        for drawing in DRAWINGS[name](records, look):
            written += save(drawing.figure, results / drawing.name, formats=formats)
            written.append(results / f"{drawing.name}.csv")
            write_text_whole(written[-1], csv_text(DataFrame(drawing.rows)))
    return sorted(written)


def bandit(records: Iterable[RunRecord], style: Style) -> Iterator[Drawing]:
    """The probability of the action that always loses, against the number of optimiser steps, a line for each β."""
    rows: list[Row] = [
        {
            "objective": record.spec.objective,
            "beta": record.spec.params["beta"],
            "steps": record.spec.train.steps,
            "worst_mass": _value(record, "worst_mass"),
            "best_mass": _value(record, "best_mass"),
            "closed_form": _loser(record.spec.params["beta"]) if record.spec.objective == "ipo_sum" else 0.0,
        }
        for record in records
        if record.evaluation.split == "validation"
    ]
    rows = sorted(rows, key=lambda row: (row["objective"], row["beta"], row["steps"]))
    figure = new_figure(style, height=2.3, columns=2)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, objective in zip(panels, ("dpo", "ipo_sum"), strict=True):
        own = [row for row in rows if row["objective"] == objective]
        for at, beta in enumerate(sorted({row["beta"] for row in own})):
            line = [row for row in own if row["beta"] == beta]
            steps = [row["steps"] for row in line]
            axes.plot(
                steps,
                [row["worst_mass"] for row in line],
                color=colour_of(objective if objective == "dpo" else "ipo"),
                linestyle=DASHES[at],
                marker="os^D"[at],
                label=f"{'β' if objective == 'dpo' else 'τ'} = {beta:g}",
            )
            if objective == "ipo_sum":
                axes.axhline(line[0]["closed_form"], color=GREY, linewidth=0.7, linestyle=DASHES[at], zorder=1)
        axes.set(xscale="log", yscale="log", xlabel="optimiser steps", title="DPO" if objective == "dpo" else "IPO")
        axes.legend(loc="lower left", handlelength=2.6)
    panels[0].set_ylabel("π(the action that always loses)")
    panels[0].set_ylim(1e-8, 0.6)  # DPO goes on below
    panels[1].annotate(
        "grey: closed form", (0.98, 0.04), xycoords="axes fraction", ha="right", color=GREY, fontsize=style.font
    )
    yield Drawing("ipo-bandit", figure, rows)


def overoptimisation(records: Iterable[RunRecord], style: Style) -> Iterator[Drawing]:
    """Win rate and true reward against KL, a line for each objective along its β."""
    rows: list[Row] = [
        {
            "objective": record.spec.objective,
            "beta": record.spec.params["beta"],
            "kl": _value(record, "kl"),
            "win_rate": 100 * _value(record, "win_rate"),
            "gold_reward": _value(record, "gold_reward"),
        }
        for record in records
        if record.evaluation.split == "validation"
    ]
    rows = sorted(rows, key=lambda row: (row["objective"], -row["beta"]))
    figure = new_figure(style, height=2.3, columns=2)
    panels = figure.subplots(1, 2)
    labels = {"dpo": "DPO", "ipo_sum": "IPO"}
    for objective in sorted({row["objective"] for row in rows}):
        own = [row for row in rows if row["objective"] == objective]
        for axes, name in zip(panels, ("win_rate", "gold_reward"), strict=True):
            axes.plot(
                [row["kl"] for row in own],
                [row[name] for row in own],
                marker="o" if objective == "dpo" else "s",
                linewidth=0.6,
                color=colour_of(objective.removesuffix("_sum")),
                label=labels.get(objective, objective),
            )
    for axes, text in zip(panels, ("win rate by the true reward [%]", "true reward"), strict=True):
        axes.set(xlabel="KL to the start model [nats]", ylabel=text)
    legend(figure, style, *panels[0].get_legend_handles_labels())
    yield Drawing("overoptimisation", figure, rows)


def optima(records: Iterable[RunRecord], style: Style) -> Iterator[Drawing]:
    """KL of each objective's policy to its own optimum; one point for each problem in which that is known."""
    validation = [record for record in records if record.evaluation.split == "validation"]
    rows = sorted((_reach(record) for record in validation), key=lambda row: (row["objective"], row["problem"]))
    known = [row for row in rows if not math.isnan(row["kl_to_own_optimum"])]
    worst: Mapping[str, float] = {
        name: max(row["kl_to_own_optimum"] for row in known if row["objective"] == name)
        for name in {row["objective"] for row in known}
    }
    names = sorted(worst, key=lambda name: (worst[name], name))
    figure = new_figure(style, height=0.9 + 0.14 * len(names), columns=1)
    axes = figure.subplots()
    for at, problem in enumerate(sorted({row["problem"] for row in known})):
        own = [row for row in known if row["problem"] == problem]
        axes.plot(
            [max(row["kl_to_own_optimum"], 1e-17) for row in own],
            [names.index(row["objective"]) for row in own],
            "osD^"[at % 4],
            markersize=3.5,
            markerfacecolor="none",
            label=problem,
        )
    axes.axvline(REACHED, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel="KL to the own optimum [nats]", yticks=range(len(names)), yticklabels=names)
    _ends(axes, len(names))
    legend(figure, style, *axes.get_legend_handles_labels())
    yield Drawing("optima", figure, rows)


def flips(records: Iterable[RunRecord], style: Style) -> Iterator[Drawing]:
    """KL to the optimum of clean labels against the share of labels that were turned round."""
    rows: list[Row] = [
        {
            "objective": record.spec.objective,
            "flips": _problem(record).flips,
            "kl_to_clean_optimum": _value(record, "kl_to_optimum"),
            "kl": _value(record, "kl"),
        }
        for record in records
        if record.evaluation.split == "validation"
    ]
    rows = sorted(rows, key=lambda row: (str(row["objective"]), row["flips"]))
    figure = new_figure(style, height=2.2)
    axes = figure.subplots()
    for at, name in enumerate(sorted({str(row["objective"]) for row in rows})):
        own = [row for row in rows if row["objective"] == name]
        xs, ys = [100 * row["flips"] for row in own], [row["kl_to_clean_optimum"] for row in own]
        axes.plot(xs, ys, marker="os^"[at % 3], color=colour_of(name), label=name)
    axes.set(xlabel="labels turned round [%]", ylabel="KL to the optimum\nof clean labels [nats]")
    legend(figure, style, *axes.get_legend_handles_labels())
    yield Drawing("flips", figure, rows)


def imbalance(records: Iterable[RunRecord], style: Style) -> Iterator[Drawing]:
    """KTO's target against the share of desirable examples, with equal and with balanced weights."""
    rows: list[Row] = []
    for record in records:
        if record.evaluation.split != "test" and (share := _problem(record).desirable) is not None:
            weights = [record.spec.params[f"{kind}_weight"] for kind in ("desirable", "undesirable")]
            common = {"desirable": share, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
            measured = {name: _value(record, name) for name in ("target", "gold_reward", "kl")}
            # where both kinds are as many, balanced weights are equal ones
            for name in ["equal"] * (weights[0] == weights[1]) + ["balanced"] * (
                weights[0] != weights[1] or share == 0.5
            ):
                rows.append({"weights": name, **common, **measured})
    rows = sorted(rows, key=lambda row: (row["weights"], row["desirable"]))
    figure = new_figure(style, height=2.2)
    axes = figure.subplots()
    for name, look in (("balanced", "o-"), ("equal", "s--")):
        own = [row for row in rows if row["weights"] == name]
        xs, ys = [100 * row["desirable"] for row in own], [row["target"] for row in own]
        axes.plot(xs, ys, look, color=colour_of("kto"), label=f"{name} weights")
    axes.set(xlabel="desirable examples [%]", ylabel="target J")
    legend(figure, style, *axes.get_legend_handles_labels())
    yield Drawing("imbalance", figure, rows)


DRAWINGS: Mapping[str, Callable[[Iterable[RunRecord], Style], Iterator[Drawing]]] = MappingProxyType(
    {
        "ipo-bandit": bandit,
        "overoptimisation": overoptimisation,
        "flips": flips,
        "imbalance": imbalance,
        "optima": optima,
    }
)


def _reach(record: RunRecord) -> Row:
    problem = _problem(record)
    count = sum(problem.symbols**depth for depth in range(problem.length + 1))
    distance = record.metric("kl_to_own_optimum")
    return {
        "objective": record.spec.objective,
        "params": " ".join(f"{name}={value:g}" for name, value in sorted(record.spec.params.items())),
        "problem": f"{count} completions" + (f", {100 * problem.flips:g} % flips" if problem.flips else ""),
        "kl_to_own_optimum": math.nan if distance is None else distance.value,
        "reached": None if distance is None else distance.value < REACHED,
        "status": record.status,
    }


def _problem(record: RunRecord) -> ProblemSpec:
    problem = record.spec.data.problem
    if problem is None:
        raise RunError(f"run {record.key} is of no enumerable problem", fix="give a folder of its own: --out")
    return problem


def _ends(axes: "Axes", count: int) -> None:
    axes.set_ylim(-0.8, count - 0.2)
    axes.grid(axis="y", visible=False)


def _value(record: RunRecord, name: str) -> float:
    metric = record.metric(name)
    return math.nan if metric is None else metric.value


def _loser(tau: float) -> float:
    """IPO's closed form for the worst of three actions in a total order, from an even start model.

    P(y ≻ μ) − ½ is 1/3, 0 and −1/3 (arXiv 2310.12036, equation 7 with Ψ the identity).
    """
    weights = [math.exp(gap / tau) for gap in (1 / 3, 0.0, -1 / 3)]
    return weights[2] / sum(weights)

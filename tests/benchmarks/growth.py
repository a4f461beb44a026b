"""Owns how our cost grows: with the pairs, the prompt's share of a row, the vocabulary, and the settings of a sweep."""

import csv
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.report.figures.saving import save
from bench.report.figures.style import BLUE, GREY
from bench.utils.files import write_text_whole
from tests.benchmarks.machine import now
from tests.benchmarks.material import BATCH, draw_pairs, write_start, write_texts
from tests.benchmarks.objectives import Run, compared
from tests.benchmarks.ours import prepare
from tests.benchmarks.ours_sweep import train_betas
from tests.benchmarks.shapes import SHAPES, Shape

LEARNING_RATE = 1e-4
ROW_TOKENS = 160
"""Tokens of prompt and completion together, where the prompt's share is what changes."""
EPOCH_BATCH, EPOCH_PROMPT, EPOCH_RESPONSE = 64, 16, (8, 24)
"""Pairs per step and tokens, where the number of pairs is what changes: short, so that 16,000 of them take seconds."""
HELD_OUT = 32
TRIAL_PAIRS = 128


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where each of the four is measured. ``repeats``: timed steps, after one that is not, where steps are timed."""

    pairs: tuple[int, ...] = (1000, 2000, 4000, 8000, 16000)
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    vocabularies: tuple[int, ...] = (4096, 8192, 16384, 32768, 65536, 131072)
    trials: tuple[int, ...] = (1, 2, 5, 10, 20)
    repeats: int = 4


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Seconds at each place, and their slope in logarithms: 1 is in proportion, 0 is no growth."""

    name: str
    label: str
    places: tuple[float, ...]
    seconds: tuple[float, ...]
    of: str

    @property
    def slope(self) -> float:
        """By least squares over all places."""
        return float(np.polyfit(np.log(self.places), np.log(self.seconds), 1)[0])


def measure(plan: Plan, *, note: Any) -> tuple[Curve, ...]:
    """Take all four curves, one after another."""
    curves = []
    for take in (_pairs, _shares, _vocabularies, _trials):
        curves.append(take(plan))
        told = ", ".join(f"{x:g}: {y:.3g} s" for x, y in zip(curves[-1].places, curves[-1].seconds, strict=True))
        note(f"{curves[-1].label}: {told}; slope {curves[-1].slope:.2f}")
    return tuple(curves)


def write(curves: Sequence[Curve], folder: Path) -> tuple[Path, Path]:
    """Write growth.png and growth.csv; return both."""
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(("curve", "place", "seconds", "of", "slope"))
    for curve in curves:
        for place, seconds in zip(curve.places, curve.seconds, strict=True):
            rows.writerow((curve.name, f"{place:g}", f"{seconds:.4g}", curve.of, f"{curve.slope:.3f}"))
    write_text_whole(folder / "growth.csv", lines.getvalue())
    (drawn,) = save(_figure(curves), folder / "growth", formats=("png",))
    return drawn, folder / "growth.csv"


def _figure(curves: Sequence[Curve]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 4.8), dpi=160, layout="constrained")
    for panel, curve in zip(figure.subplots(2, 2).flat, curves, strict=True):
        places, seconds = np.array(curve.places), np.array(curve.seconds)
        if curve.slope > 0:
            panel.plot(places, seconds[0] * places / places[0], color=GREY, linestyle=":", linewidth=1)
        panel.plot(places, seconds, color=BLUE, marker="o", markersize=4)
        panel.set(xscale="log", yscale="log")
        panel.set_xlabel(curve.label, fontsize=8)
        panel.set_ylabel(f"seconds per {curve.of}", fontsize=8)
        ends = (seconds.min(), seconds.max())
        panel.set_xticks(places, [f"{place:g}" for place in places], fontsize=7)
        panel.set_yticks(ends, [f"{value:.2g}" for value in ends], fontsize=7)
        panel.minorticks_off()
        panel.set_title(f"slope {curve.slope:.2f}" + (" (dotted: 1)" if curve.slope > 0 else ""), fontsize=8)
    return figure


def _pairs(plan: Plan) -> Curve:
    """A whole epoch from text to score: reading, tokenising, the reference's pass, training, scoring."""
    seconds = [
        _sweep(count, betas=1, batch=EPOCH_BATCH, prompt=EPOCH_PROMPT, response=EPOCH_RESPONSE) for count in plan.pairs
    ]
    return Curve(
        name="pairs", label="training pairs", places=plan.pairs, seconds=tuple(seconds), of="epoch, all included"
    )


def _shares(plan: Plan) -> Curve:
    seconds = []
    for share in plan.shares:
        prompt = round(share * ROW_TOKENS)
        response = (ROW_TOKENS - prompt, ROW_TOKENS - prompt)
        seconds.append(_step(SHAPES["1M"], prompt=prompt, response=response, repeats=plan.repeats))
    return Curve(
        name="prompt_share", label=f"prompt's share of {ROW_TOKENS} tokens", places=plan.shares,
        seconds=tuple(seconds), of="step",
    )  # fmt: skip


def _vocabularies(plan: Plan) -> Curve:
    seconds = [_step(replace(SHAPES["1M"], vocabulary=size), repeats=plan.repeats) for size in plan.vocabularies]
    return Curve(name="vocabulary", label="vocabulary", places=plan.vocabularies, seconds=tuple(seconds), of="step")


def _trials(plan: Plan) -> Curve:
    seconds = [_sweep(TRIAL_PAIRS, betas=count, batch=BATCH) for count in plan.trials]
    return Curve(name="trials", label="settings of a sweep", places=plan.trials, seconds=tuple(seconds), of="sweep")


def _sweep(pairs: int, *, betas: int, batch: int, prompt: int = 64, response: tuple[int, int] = (32, 96)) -> float:
    shape = SHAPES["tiny"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_start(shape, folder / "model")
        drawn = draw_pairs(pairs + HELD_OUT, vocabulary=shape.vocabulary, seed=0, prompt=prompt, response=response)
        train_file = write_texts(drawn[:pairs], folder / "train.jsonl")
        held_out_file = write_texts(drawn[pairs:], folder / "held-out.jsonl")
        started = time.perf_counter()
        train_betas(
            model,
            train_file=train_file,
            held_out_file=held_out_file,
            betas=tuple(np.geomspace(0.01, 1, betas).tolist()),
            batch=batch,
            learning_rate=LEARNING_RATE,
            max_length=shape.context,
            precision="fp32",
            work=folder / "work",
        )
        return time.perf_counter() - started


def _step(shape: Shape, *, repeats: int, prompt: int = 64, response: tuple[int, int] = (32, 96)) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model=write_start(shape, Path(folder) / "model"),
            pairs=draw_pairs(
                BATCH * (repeats + 1), vocabulary=shape.vocabulary, seed=0, prompt=prompt, response=response
            ),
            objective="dpo",
            params=compared("dpo").params,
            learning_rate=LEARNING_RATE,
            max_length=shape.context,
        )
        mine = prepare(run, precision="fp32", cache=Path(folder) / "reference")
        mine.step()
        seconds = []
        for _ in range(repeats):
            started = now()
            mine.step()
            seconds.append(now() - started)
    return float(np.median(seconds))

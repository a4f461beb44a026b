"""Owns coverage and width of corrected win rates on stored verdicts; as a module it prints docs/statistics.md's tables.

``python -m tests.bench.stats.prediction_powered_coverage FOLDER``: the folder has AlpacaEval's ``judgements.csv.gz``.
"""

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.stats.prediction_powered import corrected_difference, corrected_mean

Array = NDArray[np.float64]
REPEATS = 2000
COUNTS = (20, 40, 80, 161)
"""Strong verdicts of 805: 2.5, 5, 10 and 20 %."""
PROMPTS = 200
"""Prompts drawn from the 805 where intervals are for new prompts."""
CHARACTERS = 800.0
"""Length difference over which the judge by length changes its mind."""


def stored(folder: Path) -> dict[str, tuple[Array, dict[str, Array]]]:
    """Return of each model the strong verdicts (GPT-4-turbo's) and two cheap judges' verdicts of the same questions.

    ``length``: tanh of the length difference, no more. ``fitted``: a logistic regression on that and on how the *other*
    models did on the question, fitted to verdicts on the other models; it never sees one on the model itself.
    """
    table = pd.read_csv(folder / "judgements.csv.gz")
    table["verdict"] = table["preference"] - 1.0
    table["longer"] = np.tanh((table["len_output_2"] - table["len_output_1"]) / CHARACTERS)
    verdicts, longer = (table.pivot(index="index", columns="model", values=name) for name in ("verdict", "longer"))
    judged = {}
    for model in verdicts:
        known = verdicts[model].notna().to_numpy()
        cheap = {"length": longer[model].to_numpy(), "fitted": _fitted(str(model), verdicts, longer)}
        judged[str(model)] = (
            verdicts[model].to_numpy()[known],
            {name: values[known] for name, values in cheap.items()},
        )
    return judged


def _fitted(model: str, verdicts: pd.DataFrame, longer: pd.DataFrame) -> Array:
    from sklearn.linear_model import LogisticRegression

    def design(name: str, others: list[str]) -> Array:
        return np.column_stack([longer[name], np.log(verdicts[others].mean(axis=1) + 0.01)])

    others = [name for name in verdicts if name != model]
    rows = np.concatenate([design(name, [each for each in others if each != name]) for name in others])
    labels = np.concatenate([verdicts[name].to_numpy() for name in others])
    rows, labels = rows[~np.isnan(labels)], labels[~np.isnan(labels)]
    fit = LogisticRegression(C=1e6).fit(
        np.concatenate([rows, rows]),
        np.repeat([1.0, 0.0], len(rows)),
        sample_weight=np.concatenate([labels, 1.0 - labels]),
    )
    return np.asarray(fit.predict_proba(np.nan_to_num(design(model, others)))[:, 1])


def normal_interval(strong: Array, cheap: Array) -> tuple[float, float]:
    """Return PPI++'s interval as its authors compute it: normal, λ by plug-in between 0 and 1, N unlabelled items."""
    known = ~np.isnan(strong)
    y, f, rest = strong[known], cheap[known], cheap[~known]
    ratio = len(y) / len(rest)
    spread = float(np.var(cheap))
    weight = float(np.clip(np.cov(y, f, ddof=0)[0, 1] / ((1 + ratio) * spread), 0, 1)) if spread else 0.0
    mean = y.mean() + weight * (rest.mean() - f.mean())
    error = math.sqrt(weight**2 * rest.var() / len(rest) + (y - weight * f).var() / len(y))
    return mean - 1.959964 * error, mean + 1.959964 * error


def these(strong: Array, cheap: Array, *, count: int, rng: np.random.Generator, repeats: int) -> Array:
    """Return (repeats, corrected | alone, low | high) of intervals for the mean of these very items."""
    found = np.empty((repeats, 2, 2))
    for row in found:
        part = np.full_like(strong, np.nan)
        chosen = rng.choice(len(strong), count, replace=False)
        part[chosen] = strong[chosen]
        done = corrected_mean(part, cheap, items="these")
        row[:] = [[each.low, each.high] for each in (done.interval, done.alone)]
    return found


def new(strong: Array, cheap: Array, *, count: int, rng: np.random.Generator, repeats: int) -> Array:
    """Return (repeats, corrected | alone | PPI++'s normal, low | high) of intervals for new items, PROMPTS of them."""
    found = np.empty((repeats, 3, 2))
    for row in found:
        drawn = rng.choice(len(strong), PROMPTS)
        part = strong[drawn].copy()
        part[count:] = np.nan  # the order is random
        done = corrected_mean(part, cheap[drawn], items="new")
        row[:2] = [[each.low, each.high] for each in (done.interval, done.alone)]
        row[2] = normal_interval(part, cheap[drawn])
    return found


def differences(
    first: tuple[Array, Array], second: tuple[Array, Array], *, count: int, rng: np.random.Generator, repeats: int
) -> Array:
    """Return (repeats, corrected | alone, low | high) of the difference of two models on these items."""
    found = np.empty((repeats, 2, 2))
    for row in found:
        chosen = rng.choice(len(first[0]), count, replace=False)
        sides = []
        for strong, cheap in (first, second):
            part = np.full_like(strong, np.nan)
            part[chosen] = strong[chosen]
            sides.append((part, cheap))
        done = corrected_difference(*sides, items="these")
        row[:] = [[each.low, each.high] for each in (done.interval, done.alone)]
    return found


def coverage(found: Array, truth: float) -> tuple[Array, Array]:
    """Return of each kind of interval the share that holds ``truth``, and the mean width."""
    return ((found[..., 0] <= truth) & (truth <= found[..., 1])).mean(axis=0), (found[..., 1] - found[..., 0]).mean(
        axis=0
    )


def main(folder: Path, *, repeats: int = REPEATS) -> None:
    """Print four tables: each judge on these prompts, the intervals for new prompts, and paired differences."""
    judged = stored(folder)
    for judge in ("length", "fitted"):
        print(f"\n| {judge}: model | win rate | r | " + " | ".join(f"{count} of 805" for count in COUNTS) + " |")
        print("|---" * (len(COUNTS) + 3) + "|")
        for model, (strong, cheap) in sorted(judged.items(), key=lambda each: -each[1][0].mean()):
            cells = []
            for count in COUNTS:
                found = these(strong, cheap[judge], count=count, rng=np.random.default_rng(0), repeats=repeats)
                (hit, own), (width, alone) = coverage(found, float(strong.mean()))
                cells.append(f"{100 * hit:.1f} / {100 * own:.1f}; {50 * width:.1f} / {50 * alone:.1f}")
            relation = np.corrcoef(strong, cheap[judge])[0, 1]
            print(f"| {model} | {100 * strong.mean():.1f} | {relation:.2f} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n| fitted, new prompts: model | {' | '.join(f'{count} of {PROMPTS}' for count in COUNTS[:3])} |")
    print("|---" * len(COUNTS) + "|")
    for model, (strong, cheap) in sorted(judged.items(), key=lambda each: -each[1][0].mean()):
        cells = []
        for count in COUNTS[:3]:
            found = new(strong, cheap["fitted"], count=count, rng=np.random.default_rng(0), repeats=repeats)
            hits, _ = coverage(found, float(strong.mean()))
            cells.append(" / ".join(f"{100 * hit:.1f}" for hit in hits))
        print(f"| {model} | " + " | ".join(cells) + " |", flush=True)
    _print_differences(judged, repeats=repeats)


def _print_differences(judged: dict[str, tuple[Array, dict[str, Array]]], *, repeats: int) -> None:
    """Print coverage and width over all pairs of models with all questions, a tenth of the repeats each."""
    whole = {model: (strong, cheap["fitted"]) for model, (strong, cheap) in judged.items() if len(strong) == 805}
    pairs = list(itertools.combinations(whole, 2))
    print("\n| fitted, paired differences | pairs | coverage | lowest | half width / alone |\n|---|---|---|---|---|")
    for count in COUNTS:
        results = []
        for one, other in pairs:
            truth = float(whole[one][0].mean() - whole[other][0].mean())
            found = differences(
                whole[one], whole[other], count=count, rng=np.random.default_rng(0), repeats=repeats // 5
            )
            results.append([*coverage(found, truth)[0], *coverage(found, truth)[1]])
        hit, own, width, alone = np.mean(results, axis=0)
        lowest = np.min(results, axis=0)[0]
        print(
            f"| {count} of 805 | {len(pairs)} | {100 * hit:.1f} / {100 * own:.1f} | {100 * lowest:.1f} | "
            f"{50 * width:.1f} / {50 * alone:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), repeats=int(sys.argv[2]) if len(sys.argv) > 2 else REPEATS)

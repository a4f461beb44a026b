"""What a choice between settings costs and loses, by simulation: ``python -m tests.bench.stats.choices``.

The five settings of each objective that is published with five seeds (suite sentiment) have the means that their first
seed had, and the objective's deviation over seeds. Each choice sees the same draws; what it loses is the best mean less
the chosen one's.
"""

from pathlib import Path

import numpy as np

from bench.report.analysis.analysis import analyse_folder
from bench.stats.selection import in_question
from tests.bench.stats.familywise import RESIDUAL

ROOT = Path(__file__).parents[3]
PROMPTS = 192
MARGIN = 0.2
MOST = 5


def published() -> list[tuple[np.ndarray, float]]:
    """Return for each objective the means of its settings, and its deviation over seeds, J."""
    (group,) = analyse_folder(ROOT / "results/published/sentiment-five").groups[:1]
    found = []
    for name, settings in group.by_objective.items():
        metrics = [one.validation[0].metric("target") for one in settings if one.validation]
        best = group.best(name)
        assert best is not None
        finals = [metric.value for record in best.test if (metric := record.metric("target")) is not None]
        means = np.array([metric.value for metric in metrics if metric is not None])
        found.append((means, float(np.std(finals, ddof=1))))
    return found


def race(scores: np.ndarray, *, most: int) -> tuple[int, int]:
    """Return the setting that a race over ``scores`` (settings, seeds, prompts) chooses, and its trainings."""
    live, seeds, trainings = list(range(len(scores))), 1, len(scores)
    while True:
        flags = in_question([scores[place, :seeds] for place in live], margin=MARGIN)
        live = [place for place, flag in zip(live, flags, strict=True) if flag]
        if len(live) == 1 or seeds == most:
            return max(live, key=lambda place: scores[place, :seeds].mean()), trainings
        seeds, trainings = seeds + 1, trainings + len(live)


def main(tables: int = 400) -> None:
    """Print for each way to choose its trainings an objective, and the loss: mean over objectives, and the largest."""
    rng = np.random.default_rng(2026)
    lost: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}
    for means, deviation in published():
        gaps: dict[str, list[tuple[float, int]]] = {}
        for _ in range(tables):
            seeds = rng.normal(0, deviation, (len(means), MOST, 1))
            scores = means[:, None, None] + seeds + rng.normal(0, RESIDUAL, (len(means), MOST, PROMPTS))
            for count in (1, 2, 3, 5):
                chosen = int(scores[:, :count].mean(axis=(1, 2)).argmax())
                gaps.setdefault(f"{count} seeds for all", []).append((means.max() - means[chosen], count * len(means)))
            for most in (3, 5):
                chosen, trainings = race(scores, most=most)
                gaps.setdefault(f"race, {most} at most", []).append((means.max() - means[chosen], trainings))
        for name, each in gaps.items():
            loss, trainings = np.mean(each, axis=0)
            lost.setdefault(name, []).append(float(loss))
            spent.setdefault(name, []).append(float(trainings))
    print("| choice | trainings an objective | J lost, mean | J lost, worst objective |\n|---|---:|---:|---:|")
    for name in lost:
        print(f"| {name} | {np.mean(spent[name]):.1f} | {np.mean(lost[name]):.3f} | {max(lost[name]):.3f} |")


if __name__ == "__main__":
    main()

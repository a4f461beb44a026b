"""Win rates of a checkpoint's samples against the start model's, and the target made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.record import Metric
from bench.core.samples import SampleRow
from bench.errors import RunError
from bench.evaluate.judges.alpaca_eval import judge_metrics, length_controlled_values, preference_win_rate
from bench.evaluate.judges.annotate import Annotation, annotate
from bench.evaluate.judges.answers import in_order
from bench.evaluate.judges.base import AnswerPair, Judge
from bench.evaluate.metrics.aggregate import mean_metrics

EVEN = 50.0
"""The win rate of a model against itself, percent."""


@dataclass(frozen=True, kw_only=True)
class JudgedSamples:
    """One judge's results on a checkpoint.

    ``preferences``: probability that a prompt's sample is better, ``[prompts]``. ``target``: its part of the
    length-controlled rate, percent, ``[prompts]``. Both are the mean of the others where there is no verdict.
    """

    metrics: tuple[Metric, ...]
    preferences: NDArray[np.float64]
    target: NDArray[np.float64]


def judge_samples(
    judge: Judge,
    rows: Sequence[SampleRow],
    baseline: Sequence[SampleRow] | None,
    *,
    task: str,
    split: str,
    seed: int,
    verdicts: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> JudgedSamples:
    """Ask a judge which of two answers is better, the sample or the start model's, prompt by prompt.

    Which one is shown first is a coin of ``seed`` and the texts. A prompt without a verdict counts in no rate, and in
    the target with the rate itself; ``unjudged_share`` says how many these are. ``by_words_share``, of a judge whose
    verdicts are meant to be probabilities: how many were read from its words, 1 or 0.

    Args:
        baseline: the start model's samples of the same prompts; None: these are its own, and no judge is asked.
        verdicts: folder of earlier verdicts; new ones are kept there.
        progress: called with how many of how many questions the judge was asked.

    Raises:
        RunError: the judge does not answer, gives no verdict on any answer, or alpaca-eval failed.
    """
    if baseline is None:
        measured = {name: (np.full(len(rows), EVEN), True) for name in ("win_rate", "lc_win_rate")}
        even = np.full(len(rows), EVEN)
        return JudgedSamples(
            metrics=mean_metrics(measured, task=task, split=split), preferences=even / 100.0, target=even
        )
    instructions, answers = [row.prompt for row in rows], [row.text for row in rows]
    pairs = in_order(instructions, answers, [row.text for row in baseline], model="policy", baseline="start")
    made = annotate(judge, pairs, seed=seed, cache=verdicts, progress=progress)
    known = [index for index, one in enumerate(made) if one.preference is not None]
    unjudged = np.array([float(one.preference is None) for one in made])
    missing = mean_metrics({"unjudged_share": (unjudged, False)}, task=task, split=split)
    words = np.array([float(judge.soft and _by_words(one)) for one in made])
    if words.any():
        missing += mean_metrics({"by_words_share": (words, False)}, task=task, split=split)
    if not known:
        raise RunError(
            f"judge {judge.name} gave no verdict on any of {len(rows)} answers{example_of(made)}",
            fix="look at what it said, and take another judge with --judge",
        )
    rates, preferences, target = _rates([made[index] for index in known], task=task, split=split)
    filled = {name: np.full(len(rows), each.mean()) for name, each in (("p", preferences), ("t", target))}
    filled["p"][known], filled["t"][known] = preferences, target
    return JudgedSamples(metrics=(*rates, *missing), preferences=filled["p"], target=filled["t"])


def _by_words(one: Annotation) -> bool:
    return any(verdict.outcome == "judged" and verdict.mass is None for verdict in one.verdicts.values())


def example_of(made: Sequence[Annotation]) -> str:
    """Return «, e.g. …» with what a judge said instead of its first missing verdict; nothing where none is missing."""
    first = next((v for one in made for v in one.verdicts.values() if v.first_better is None), None)
    return "" if first is None else f", e.g. {first.outcome}: {first.text[:80]!r}"


def _rates(
    made: Sequence[Annotation], *, task: str, split: str
) -> tuple[list[Metric], NDArray[np.float64], NDArray[np.float64]]:
    preferences = np.array([one.preference for one in made], dtype=np.float64)
    result = preference_win_rate(
        instructions=[one.instruction for one in made],
        outputs=[one.output for one in made],
        references=[one.reference for one in made],
        preferences=preferences,
    )
    metrics = [metric.model_copy(update={"task": task}) for metric in judge_metrics(result, split=split)]
    longer = np.array([float(len(one.output) - len(one.reference)) for one in made])
    return metrics, preferences, length_controlled_values(preferences, longer)


def held_out_accuracy(
    judge: Judge, pairs: Sequence[AnswerPair], *, task: str, split: str, seed: int, verdicts: Path | None
) -> tuple[Metric, ...]:
    """Return how often a judge agrees with the labels of held-out pairs, a tie counting half.

    Args:
        pairs: instruction, the preferred answer (first) and the other one; none: nothing is returned.
    """
    if not pairs:
        return ()
    instructions, better, worse = zip(*((pair.instruction, pair.first, pair.second) for pair in pairs), strict=True)
    compared = in_order(instructions, better, worse, model="chosen", baseline="rejected")
    preferences = [one.preference for one in annotate(judge, compared, seed=seed, cache=verdicts)]
    agreed = np.array([0.5 + 0.5 * float(np.sign(each - 0.5)) for each in preferences if each is not None])
    if not len(agreed):
        return ()
    return mean_metrics({"held_out_accuracy": (agreed, True)}, task=task, split=split)


def with_rewards(judge: Judge, rows: Sequence[SampleRow]) -> list[SampleRow]:
    """Return the samples with a judge's reward as their gold reward, where it gives one to every sample."""
    if judge.score is None:
        return list(rows)
    rewards = judge.score([(row.prompt, row.text) for row in rows])
    if np.isnan(rewards).any():
        return list(rows)
    return [replace(row, gold=float(reward)) for row, reward in zip(rows, rewards, strict=True)]

"""The preference data of an enumerable problem: pairs of completions, and their labels."""

from collections.abc import Sequence

import numpy as np

from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, encoded_of
from bench.errors import UsageError
from bench.models.table_model import END
from bench.suites.exact.indexed_pairs import IndexedPairs, Indices, as_pairs
from bench.suites.exact.population_pairs import population_pairs
from bench.suites.exact.problem import Array, Problem
from bench.suites.pairs import Pair

EVALUATION_PAIRS = 512
"""Pairs of a held-out split."""
STREAMS = {"train": 0, "validation": 1, "test": 2}
# Not 1 to 4, which are the problem's own; a kind of randomness each, so that a dial changes what it is about alone.
# Rows are drawn one by one: more of them only add to what was there.
CONTEXT_STREAM, COMPLETION_STREAM, NOISE_STREAM, COIN_STREAM, FLIP_STREAM, SIDE_STREAM = range(5, 11)


def draw_pairs(problem: Problem, *, pairs: int, stream: int, contexts: Sequence[int] | None = None) -> list[Pair]:
    """Draw pairs of different completions of uniformly drawn contexts, and label them as the problem's dials say.

    Both completions come from π_ref · exp(tilt · r*), independently but for being different. The annotator's utility
    of each is its label reward, plus temperature · Gumbel noise unless labels are deterministic: the difference of two
    Gumbels is logistic, so the larger utility wins with Bradley-Terry's probability exactly. The share ``ties`` of the
    pairs, those with the closest label rewards, is labelled by a coin; then each label is turned round with
    probability ``flips``. Scores are the two utilities, the larger one with the chosen completion whatever coin and
    flip did, or r* of each.

    Args:
        stream: names the randomness; another stream gives independent pairs.
        contexts: what contexts are drawn from; None: all.

    Raises:
        UsageError: the tilt leaves one completion of a context only.
    """
    drawn = _draw(problem, pairs=pairs, stream=stream, contexts=contexts)
    return as_pairs(drawn, problem)


def _draw(problem: Problem, *, pairs: int, stream: int, contexts: Sequence[int] | None) -> IndexedPairs:
    spec = problem.spec
    among = np.asarray(problem.contexts("train") if contexts is None else contexts)
    context = among[_generator(problem, CONTEXT_STREAM, stream).integers(len(among), size=pairs)]
    first, second = _draw_completions(
        problem, context, _generator(problem, COMPLETION_STREAM, stream).random((pairs, 2)).T
    )
    sides = np.stack([first, second])
    label_reward = problem.label_reward[context, sides]
    utility = label_reward
    if spec.labels != "deterministic":
        utility = utility + spec.temperature * _generator(problem, NOISE_STREAM, stream).gumbel(size=(pairs, 2)).T
    coin = _generator(problem, COIN_STREAM, stream).random(pairs) < 0.5
    gap = utility[0] - utility[1]
    first_wins = np.where(gap == 0, coin, gap > 0)
    tied = np.argsort(np.abs(label_reward[0] - label_reward[1]), kind="stable")[: round(spec.ties * pairs)]
    first_wins[tied] = coin[tied]
    first_wins ^= _generator(problem, FLIP_STREAM, stream).random(pairs) < spec.flips
    chosen, rejected = np.where(first_wins, first, second), np.where(first_wins, second, first)
    if spec.scores == "reward":
        scores = problem.reward[context, chosen], problem.reward[context, rejected]
    else:
        scores = utility.max(axis=0), utility.min(axis=0)
    return IndexedPairs(
        context=context, chosen=chosen, rejected=rejected, chosen_score=scores[0], rejected_score=scores[1]
    )


def _draw_completions(problem: Problem, context: Indices, uniform: Array) -> tuple[Indices, Indices]:
    """Draw two different completions for each context from two uniform numbers: P(i, j) ∝ p_i · p_j for i ≠ j."""
    first, second = np.empty_like(context), np.empty_like(context)
    log_p = problem.log_ref + problem.spec.tilt * problem.reward
    for each in np.unique(context):
        mine = context == each
        p = np.exp(log_p[each] - log_p[each].max())
        first[mine], second[mine] = _draw_two(
            p / p.sum(), uniform[:, mine], where=f"context {each}", tilt=problem.spec.tilt
        )
    return first, second


def _draw_two(p: Array, uniform: Array, *, where: str, tilt: float) -> tuple[Indices, Indices]:
    # Sums from both ends: what remains beside a completion of probability near one must not be 1 − p, all rounding.
    left, right = np.cumsum(p), np.cumsum(p[::-1])
    before, after = np.append(0.0, left[:-1]), np.append(right[-2::-1], 0.0)
    marginal = np.cumsum(p * (before + after))
    if not marginal[-1] > 0:
        raise UsageError(
            f"{where}: tilt {tilt} leaves one completion only, and a pair needs two", fix="give a tilt nearer to 0"
        )
    one = np.searchsorted(marginal, uniform[0] * marginal[-1], side="right").clip(max=len(p) - 1)
    target = uniform[1] * (before + after)[one]
    below = np.searchsorted(left, target, side="right")
    above = len(p) - 1 - np.searchsorted(right, after[one] - (target - before[one]), side="left")
    # Rounding alone can point at the first completion itself.
    two = np.where(
        (target < before[one]) | (after[one] == 0), below.clip(max=one - 1), above.clip(min=one + 1, max=len(p) - 1)
    )
    return one, two


def unpaired(problem: Problem, pairs: Sequence[Pair], *, stream: int) -> list[EncodedSingle]:
    """Return one row a pair: its chosen completion, as desirable, with probability ``desirable``, else its rejected.

    Raises:
        UsageError: the problem has no share of desirable rows.
    """
    share = problem.spec.desirable
    if share is None:
        raise UsageError("the problem's rows are pairs", fix="give desirable, the share of desirable rows, such as 0.5")
    desirable = _generator(problem, SIDE_STREAM, stream).random(len(pairs)) < share
    return [
        EncodedSingle(
            prompt_ids=pair.prompt_ids,
            completion_ids=pair.chosen_ids if good else pair.rejected_ids,
            desirable=bool(good),
            group=_context(problem, pair),
        )
        for pair, good in zip(pairs, desirable, strict=True)
    ]


def encode_problem(problem: Problem, split: str) -> Encoded:
    """Return the rows of a split: what is trained on, or 512 held-out pairs of the split's own contexts.

    Held-out rows are always drawn pairs, also where training rows are unpaired or a population.

    Raises:
        UsageError: no such split, or what ``draw_pairs`` and ``population_pairs`` raise.
    """
    contexts = problem.contexts(split)
    stream, train = STREAMS[split], split == "train"
    if train and problem.spec.labels == "population":
        pairs = population_pairs(problem)
    else:
        number = problem.spec.pairs if train else EVALUATION_PAIRS
        pairs = draw_pairs(problem, pairs=number, stream=stream, contexts=contexts)
    if train and problem.spec.desirable is not None:
        return encoded_of(unpaired(problem, pairs, stream=stream), kind="unpaired", eos_id=END, pad_id=END)
    rows = [
        EncodedPair(
            prompt_ids=pair.prompt_ids,
            chosen_ids=pair.chosen_ids,
            rejected_ids=pair.rejected_ids,
            score_gap=pair.chosen_score - pair.rejected_score,
            group=_context(problem, pair),
        )
        for pair in pairs
    ]
    return encoded_of(rows, kind="pairs", eos_id=END, pad_id=END)


def _context(problem: Problem, pair: Pair) -> int:
    return pair.prompt_ids[0] - problem.prompt(0)[0]


def _generator(problem: Problem, kind: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([problem.spec.seed, kind, stream])

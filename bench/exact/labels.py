"""Owns the preference data of an enumerable problem: which completions meet, and what their labels say."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, encoded_of
from bench.errors import UsageError
from bench.exact.problem import END, LEVELS, Array, Problem
from bench.suites.pairs import Pair

HELD_OUT = 512
"""Pairs of a held-out split."""
STREAMS = {"train": 0, "validation": 1, "test": 2}
LARGEST_POPULATION = 200_000
LARGEST_DENOMINATOR = 20
# Not 1 to 3, which are the problem's own; a kind of randomness each, so that a dial changes what it is about alone.
CONTEXT_STREAM, COMPLETION_STREAM, NOISE_STREAM, COIN_STREAM, FLIP_STREAM, SIDE_STREAM = range(4, 10)
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Labelled pairs by index: contexts, chosen and rejected completions, and their scores, each ``[pairs]``."""

    context: Indices
    chosen: Indices
    rejected: Indices
    chosen_score: Array
    rejected_score: Array


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
    return _as_pairs(problem, drawn)


def _draw(problem: Problem, *, pairs: int, stream: int, contexts: Sequence[int] | None) -> Drawn:
    spec = problem.spec
    among = np.asarray(problem.contexts("train") if contexts is None else contexts)
    context = among[_generator(problem, CONTEXT_STREAM, stream).integers(len(among), size=pairs)]
    first, second = _different(problem, context, _generator(problem, COMPLETION_STREAM, stream).random((2, pairs)))
    sides = np.stack([first, second])
    label_reward = problem.label_reward[context, sides]
    utility = label_reward
    if spec.labels != "deterministic":
        utility = utility + spec.temperature * _generator(problem, NOISE_STREAM, stream).gumbel(size=(2, pairs))
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
    return Drawn(context=context, chosen=chosen, rejected=rejected, chosen_score=scores[0], rejected_score=scores[1])


def _different(problem: Problem, context: Indices, uniform: Array) -> tuple[Indices, Indices]:
    """Two different completions for each context, from two uniform numbers: P(i, j) ∝ p_i · p_j for i ≠ j."""
    first, second = np.empty_like(context), np.empty_like(context)
    log_p = problem.log_ref + problem.spec.tilt * problem.reward
    for each in np.unique(context):
        mine = context == each
        p = np.exp(log_p[each] - log_p[each].max())
        first[mine], second[mine] = _two(p / p.sum(), uniform[:, mine], where=f"context {each}", tilt=problem.spec.tilt)
    return first, second


def _two(p: Array, uniform: Array, *, where: str, tilt: float) -> tuple[Indices, Indices]:
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


def population_pairs(problem: Problem) -> list[Pair]:
    """Return every two completions of every context in both orders, as often as their probabilities say, exactly.

    The number of copies is the same for each two completions, and the smallest that makes all counts whole. Scores are
    r* of each, which is what the labels are of, so that the gap is negative where the worse one is preferred.

    Raises:
        UsageError: the probabilities are not rational with small denominators, or the rows would be too many.
    """
    flips = _rational(problem)
    count = len(problem.completions)
    couples = problem.spec.contexts * count * (count - 1) // 2
    if couples > LARGEST_POPULATION:
        raise _too_many(couples, copies=1)
    one, two = np.triu_indices(count, k=1)
    level = np.searchsorted(LEVELS, problem.reward)
    gap = level[:, one] - level[:, two]  # rewards are log 2^level, so P(one ≻ two) is a function of the gap alone
    share = {each: (1 - 2 * flips) * (1 - Fraction(1, 1 + 2**each)) + flips for each in range(len(LEVELS))}
    share |= {-each: 1 - given for each, given in share.items()}
    copies = lcm(*(share[each].denominator for each in np.unique(gap).tolist()))
    if couples * copies > LARGEST_POPULATION:
        raise _too_many(couples, copies=copies)
    wins = np.zeros_like(gap)
    for each in np.unique(gap).tolist():
        wins[gap == each] = int(copies * share[each])
    counts = np.stack([wins, copies - wins], axis=-1).ravel()
    context = np.repeat(np.arange(problem.spec.contexts), 2 * len(one)).repeat(counts)
    chosen = np.tile(np.stack([one, two], axis=-1).ravel(), problem.spec.contexts).repeat(counts)
    rejected = np.tile(np.stack([two, one], axis=-1).ravel(), problem.spec.contexts).repeat(counts)
    return _as_pairs(
        problem,
        Drawn(
            context=context,
            chosen=chosen,
            rejected=rejected,
            chosen_score=problem.reward[context, chosen],
            rejected_score=problem.reward[context, rejected],
        ),
    )


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
        number = problem.spec.pairs if train else HELD_OUT
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


def _rational(problem: Problem) -> Fraction:
    """The flips as a fraction; refuses a problem whose probabilities are not rational."""
    spec = problem.spec
    wanted = {"reward": "levels", "temperature": 1.0, "proxy_noise": 0.0, "length_bias": 0.0, "ties": 0.0, "tilt": 0.0}
    for name, value in wanted.items():
        if (given := getattr(spec, name)) != value:
            raise UsageError(
                f"labels=population with {name}={given}: every pair is there in exact proportion of its probability",
                fix=f"give {name}={value}, or labels=sampled",
            )
    flips = Fraction(spec.flips).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(flips) - spec.flips) > 1e-12:
        raise UsageError(
            f"labels=population with flips={spec.flips}: counts are whole only for a simple fraction",
            fix=f"give flips={float(flips)!r} ({flips}), or another of denominator up to {LARGEST_DENOMINATOR}",
        )
    return flips


def _too_many(couples: int, *, copies: int) -> UsageError:
    return UsageError(
        f"labels=population makes {couples * copies:,} pairs, {copies} for each two completions of a context: "
        f"at most {LARGEST_POPULATION:,}",
        fix="give fewer contexts or symbols, a smaller length, or flips of a smaller denominator (0, 0.25)",
    )


def _as_pairs(problem: Problem, drawn: Drawn) -> list[Pair]:
    prompts = [problem.prompt(context) for context in range(problem.spec.contexts)]
    columns = (drawn.context, drawn.chosen, drawn.rejected, drawn.chosen_score, drawn.rejected_score)
    return [
        Pair(
            prompt_ids=prompts[context],
            chosen_ids=problem.completions[chosen],
            rejected_ids=problem.completions[rejected],
            chosen_score=chosen_score,
            rejected_score=rejected_score,
        )
        for context, chosen, rejected, chosen_score, rejected_score in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def _context(problem: Problem, pair: Pair) -> int:
    return pair.prompt_ids[0] - problem.prompt(0)[0]


def _generator(problem: Problem, kind: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([problem.spec.seed, kind, stream])

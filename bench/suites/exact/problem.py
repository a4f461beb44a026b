"""The enumerable problem: its completions, rewards, start model and annotators' preferences."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.specs import ProblemSpec
from bench.errors import UsageError
from bench.models.table_model import END, node_count
from bench.suites.pairs import check_split

LEVELS = np.log([1.0, 2.0, 4.0])
"""Rewards between which every Bradley-Terry probability at temperature 1 is rational: 1/2, 2/3 or 4/5."""

LARGEST = 1 << 21
"""As many (context, completion) pairs as a problem may have: 16 MiB an array of float64."""

LARGEST_PREFERENCE = 64

# Each kind of randomness has a generator of its own, so that one dial changes nothing but what it is about.
REWARD_STREAM, START_STREAM, PROXY_STREAM, LEVEL_STREAM = range(1, 5)

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """An enumerated contextual problem: C contexts, K symbols, Y completions of at most L tokens.

    Completion i and prefix i are both named by the number of their symbols in a heap: the empty sequence is 0, and
    sequence n followed by symbol k is n · K + k. With ``nodes`` prefixes of fewer than L symbols, a
    completion i below ``nodes`` is prefix i and the end token; the others are L symbols, which need no end.

    ``completions``: token ids. ``lengths [Y]``: tokens, the end token counted. ``start_logits [C, nodes, K + 1]``:
    float32, of the end token and each symbol after each prefix. ``log_ref [C, Y]``: log π_ref(y|x), nats, of those
    logits. ``reward [C, Y]``: r*(x, y), nats. ``label_reward [C, Y]``: what annotators see of it.
    """

    spec: ProblemSpec
    completions: tuple[tuple[int, ...], ...]
    lengths: NDArray[np.int64]
    start_logits: NDArray[np.float32]
    log_ref: Array
    reward: Array
    label_reward: Array

    @property
    def vocabulary(self) -> int:
        """Token ids: the end token, the symbols, the contexts."""
        return 1 + self.spec.symbols + self.spec.contexts

    def prompt(self, context: int) -> tuple[int, ...]:
        """Return the token ids of the context's prompt."""
        return (1 + self.spec.symbols + context,)

    def contexts(self, split: str) -> tuple[int, ...]:
        """Return the contexts of a split: even ones select ("validation"), odd ones report ("test"), "train" has all.

        Raises:
            UsageError: no such split.
        """
        first, step = {"train": (0, 1), "validation": (0, 2), "test": (1, 2)}[check_split(split)]
        return tuple(range(first, self.spec.contexts, step))


def make_problem(spec: ProblemSpec) -> Problem:
    """Draw the problem that the dials describe; equal dials give equal bits.

    Raises:
        UsageError: there are more completions than can be enumerated.
    """
    count = node_count(spec.symbols, spec.length + 1)
    if spec.contexts * count > LARGEST:
        raise UsageError(
            f"{spec.contexts} contexts with {count:,} completions each are too many to enumerate (at most {LARGEST:,})",
            fix="give fewer contexts or symbols, or a smaller length",
        )
    completions = _completions(spec)
    lengths = np.array([len(ids) for ids in completions])
    nodes = node_count(spec.symbols, spec.length)
    draws = _generator(spec, START_STREAM).standard_normal((spec.contexts, nodes, spec.symbols + 1))
    start_logits = (spec.start_scale * draws).astype(np.float32)
    reward = _reward(spec, count)
    errors = _generator(spec, PROXY_STREAM)
    unit = errors.standard_normal(reward.shape)
    if spec.proxy_tail is not None:
        unit = errors.standard_t(spec.proxy_tail, reward.shape)
    error = spec.proxy_noise * unit
    return Problem(
        spec=spec,
        completions=completions,
        lengths=lengths,
        start_logits=start_logits,
        log_ref=sequence_logps(start_logits),
        reward=reward,
        label_reward=reward + error + spec.length_bias * lengths,
    )


def sequence_logps(logits: NDArray[np.floating]) -> Array:
    """Return log π(y|x) of every completion, nats ``[C, Y]``, from logits ``[C, nodes, K + 1]`` after each prefix."""
    contexts, nodes, choices = logits.shape
    symbols = choices - 1
    wide = logits.astype(np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    log_p = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    log_probs = np.zeros((contexts, 1 + nodes * symbols))
    first, width = 0, 1
    while first < nodes:
        level = slice(first, first + width)
        below = slice(first + width, first + width + width * symbols)
        log_probs[:, below] = (log_probs[:, level, None] + log_p[:, level, 1:]).reshape(contexts, -1)
        first, width = first + width, width * symbols
    log_probs[:, :nodes] += log_p[:, :, END]
    return log_probs


def preference_table(problem: Problem) -> Array:
    """Return P(i ≻ j | x), ``[C, Y, Y]``: Bradley-Terry in the label reward (or 1, 0, and ½ where equal), then flips.

    ``ties`` is not in it: which pairs are closest depends on the pairs that were drawn.

    Raises:
        UsageError: there are more than 64 completions.
    """
    count = len(problem.completions)
    if count > LARGEST_PREFERENCE:
        raise UsageError(
            f"a table of preferences between {count} completions is too large: at most {LARGEST_PREFERENCE}",
            fix="give fewer symbols or a smaller length (2 and 4 make 31 completions)",
        )
    gap = problem.label_reward[:, :, None] - problem.label_reward[:, None, :]
    if problem.spec.labels == "deterministic":
        wins = 0.5 + 0.5 * np.sign(gap)
    else:
        wins = 0.5 + 0.5 * np.tanh(0.5 * gap / problem.spec.temperature)
    return (1 - problem.spec.flips) * wins + problem.spec.flips * (1 - wins)


def _completions(spec: ProblemSpec) -> tuple[tuple[int, ...], ...]:
    completions: list[tuple[int, ...]] = []
    for depth in range(spec.length + 1):
        end = (END,) if depth < spec.length else ()
        completions += [(*ids, *end) for ids in itertools.product(range(1, spec.symbols + 1), repeat=depth)]
    return tuple(completions)


def _reward(spec: ProblemSpec, count: int) -> Array:
    if spec.reward == "normal":
        return spec.reward_scale * _generator(spec, REWARD_STREAM).standard_normal((spec.contexts, count))
    # Levels in equal number, in an order drawn for each context, so that none has too few completions of one level.
    order = _shuffled(len(LEVELS), spec.contexts, random=_generator(spec, LEVEL_STREAM))
    ranks = _shuffled(count, spec.contexts, random=_generator(spec, REWARD_STREAM))
    return LEVELS[np.take_along_axis(order, ranks % len(LEVELS), axis=1)]


def _shuffled(count: int, contexts: int, *, random: np.random.Generator) -> NDArray[np.int64]:
    return random.permuted(np.tile(np.arange(count), (contexts, 1)), axis=1)


def _generator(spec: ProblemSpec, stream: int) -> np.random.Generator:
    return np.random.default_rng([spec.seed, stream])

"""An enumerable preference problem, ``Population``, and a known optimum on it, ``Known``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]
Params = Mapping[str, float]
ROUNDING = 1e-8


class NoClosedForm(Exception):  # noqa: N818
    """Error where the condition of a closed form does not hold; the message says which."""


def require(holds: ArrayLike, otherwise: str) -> None:
    """Raise NoClosedForm with the reason ``otherwise`` unless every entry of ``holds`` is true."""
    if not np.all(holds):
        raise NoClosedForm(otherwise)


@dataclass(frozen=True, eq=False)
class Population:
    """All completions of a few contexts, and how often each is preferred: what endless data would show.

    Pairs are drawn evenly over the unordered pairs of different completions of a context, contexts evenly.

    Fields:
        log_ref: [contexts, completions], log π_ref, nats; the completions are all there are, so they sum to 1.
        preference: [contexts, completions, completions], P(i ≻ j), the share of labels for i, after noise and flips.
        lengths: [completions], tokens of each.
        reward: [contexts, completions], the scores that some objectives take.
        vocabulary: the model's tokens, where they are more than the completions of one token; entropies are
            shares of its logarithm.

    Raises:
        ValueError: when shapes differ, log_ref does not sum to 1, P(i ≻ j) + P(j ≻ i) is not 1, a length is below 1,
            or there are fewer than two completions.
    """

    log_ref: Array
    preference: Array
    lengths: NDArray[np.int64]
    reward: Array
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        contexts, completions = self.log_ref.shape
        shapes = {
            "preference": (contexts, completions, completions),
            "lengths": (completions,),
            "reward": (contexts, completions),
        }
        for name, shape in shapes.items():
            actual = getattr(self, name).shape
            if actual != shape:
                raise ValueError(f"log_ref of shape {self.log_ref.shape} asks for {name} of {shape}, got {actual}")
        if completions < 2:
            raise ValueError("a context needs two completions or more")
        if not np.allclose(logsumexp(self.log_ref, axis=-1), 0, atol=ROUNDING):
            raise ValueError("log_ref must be log-probs of all completions: their probabilities do not sum to 1")
        if not np.allclose(self.preference + self.against, 1, atol=ROUNDING) or np.any(self.preference < 0):
            raise ValueError("preference must hold shares of labels: P(i ≻ j) + P(j ≻ i) = 1, and so ½ on the diagonal")
        if np.any(self.lengths < 1):
            raise ValueError("lengths are numbers of tokens, 1 or more")

    @property
    def against(self) -> Array:
        """P(j ≻ i) at [context, i, j]: 1 - P(i ≻ j) without cancellation."""
        return self.preference.swapaxes(-1, -2)

    @property
    def completions(self) -> int:
        """Number of completions of a context."""
        return self.log_ref.shape[-1]

    @property
    def pairs(self) -> NDArray[np.bool_]:
        """[completions, completions], True where i and j differ."""
        return ~np.eye(self.completions, dtype=bool)

    @property
    def tokens(self) -> Array:
        """``lengths`` as floats."""
        return self.lengths.astype(np.float64)

    def context(self, index: int) -> "Population":
        """Return the problem with one context alone."""
        only = slice(index, index + 1)
        return replace(self, log_ref=self.log_ref[only], preference=self.preference[only], reward=self.reward[only])

    def share(self, wins: Array) -> Array:
        """Return the mean of wins[context, i, j] over the other completions j: [contexts, completions]."""
        return np.where(self.pairs, wins, 0).sum(-1) / (self.completions - 1)


@dataclass(frozen=True)
class Known:
    """An optimum of the population risk that theory gives up to, at most, one number a context that normalises it.

    Fields:
        formula: plain text; see ``bench.suites.exact.theory.table`` for the notation.
        condition: what must hold of population and parameters.
        source: arXiv id and equation of the optimum; «derived here» where it follows from our loss alone.
        solve: parameters and population to log π [contexts, completions]; raises NoClosedForm.
    """

    formula: str
    condition: str
    source: str
    solve: Callable[[Params, Population], Array]

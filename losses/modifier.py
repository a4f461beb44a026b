"""Owns ``Modifier``: a change that composes with any objective for which it is defined, and its decorator."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from losses.batch import Batch
from losses.objective import Objective, Requires, Reward
from losses.param import Param

Inner = Callable[[Batch], Tensor]
"""The losses of the objective that is modified, at its own parameters."""


@dataclass(frozen=True, eq=False)
class Modifier:
    """A modifier and all that is known about it.

    Fields:
        name: as users type it after a plus sign; the name of the function.
        fn: ``fn(inner, batch, *, <params>)`` to losses of shape [examples].
        params: parameters by name; in a composed objective each is called ``<modifier>_<name>``.
        requires: what the harness must supply for it, beyond the objective's own needs.
        refuses: objective to the reason why it is not defined there, or None where it is.
        reward: the composed objective's reward, from the objective's own; None where it stays.
        paper: arXiv id and title.
        equation: plain text; ℓ stands for the objective's loss.
        version: raised by a change to any number that it gives.
    """

    name: str
    fn: Callable[..., Tensor]
    params: Mapping[str, Param]
    requires: Requires
    refuses: Callable[[Objective], str | None]
    reward: Callable[[Objective], Reward] | None
    paper: str
    equation: str
    version: int

    @property
    def doc(self) -> str:
        """The docstring of the function."""
        return inspect.getdoc(self.fn) or ""


def modifier(
    *,
    params: Mapping[str, Param],
    requires: Requires,
    refuses: Callable[[Objective], str | None],
    paper: str,
    equation: str,
    version: int,
    reward: Callable[[Objective], Reward] | None = None,
) -> Callable[[Callable[..., Tensor]], Modifier]:
    """Make a ``Modifier`` of the function below; ``losses.modifiers`` lists those that expressions know.

    Raises:
        ValueError: when the function has no docstring, or its keyword arguments are not ``params``.
    """

    def make(fn: Callable[..., Tensor]) -> Modifier:
        taken = set(list(inspect.signature(fn).parameters)[2:])
        if taken != set(params) or not inspect.getdoc(fn):
            raise ValueError(f"modifier {fn.__name__!r} takes {sorted(taken)}, params are {sorted(params)}; docstring?")
        return Modifier(
            name=fn.__name__, fn=fn, params=MappingProxyType(dict(params)), requires=requires, refuses=refuses,
            reward=reward, paper=paper, equation=equation, version=version,
        )  # fmt: skip

    return make

"""Owns ``Case``: one objective against one loss of a peer, and how far the two are apart in value and gradient."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from losses import Pairs, get
from losses.batch import Completion
from tests.peers.sample import SEEDS, Sample, cast, draw, pairs

Loss = Callable[[Sample], Tensor]
DOUBLE, SINGLE = 1e-10, 1e-5
"""Tolerances where the peer works in float64, and where its own code goes through float32."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Fields:
        objective: name or expression of ours; params: its values.
        peer: package; entry: which loss of it, with its settings where they are not ours.
        theirs: the peer's own code on a sample, to the mean loss.
        ours: what must be equal to it; by default the mean of the objective's losses.
        difference: what the peer does otherwise and why; empty where nothing is known. ``ours`` accounts for it.
        plain: ours without that account, which must *not* be equal; by default as ``ours`` by default.
        tolerance: of value and gradient; dtype: what the peer computes in. Ours computes in float64.
        even_prompts: whether all prompts must be of one length.
    """

    objective: str
    params: dict[str, float]
    peer: str
    entry: str
    theirs: Loss
    ours: Loss | None = None
    difference: str = ""
    plain: Loss | None = None
    tolerance: float = DOUBLE
    dtype: torch.dtype = torch.float64
    even_prompts: bool = False

    def __str__(self) -> str:
        values = ",".join(f"{name}={value:g}" for name, value in self.params.items())
        return f"{self.objective}({values}) x {self.peer} {self.entry}"


@dataclass(frozen=True)
class Distance:
    """Largest differences over all seeds.

    Fields:
        value: relative where the value is above 1. gradient: relative to its largest component.
        plain: the larger of both before the named difference is accounted for; None where there is none.
    """

    value: float
    gradient: float
    plain: float | None


def measure(case: Case) -> Distance:
    """Run both sides on the batch of every seed; the gradient is that of the logits, so of every token at once."""
    found = [_once(case, draw(seed, even_prompts=case.even_prompts)) for seed in SEEDS]
    values, gradients, plain = zip(*found, strict=True)
    return Distance(max(values), max(gradients), max(plain) if case.difference else None)


def mean_of(objective: str, **params: float) -> Loss:
    """The mean of an objective's losses on the pairs of a sample."""
    return lambda sample: get(objective)(pairs(sample), **params).mean()


def token_mean(losses: Tensor, side: Completion) -> Tensor:
    """The mean of losses that are averages over tokens, weighed so that every *token* of the batch counts the same."""
    return (losses * side.length).sum() / side.length.sum()


def sft_by_tokens(batch: Pairs) -> Tensor:
    """The NLL of chosen completions averaged over all tokens of the batch, from our objective."""
    return token_mean(get("sft")(batch), batch.chosen)


def _once(case: Case, sample: Sample) -> tuple[float, float, float]:
    default = mean_of(case.objective, **case.params)
    found = _value_and_slope(case.theirs, cast(sample, case.dtype))
    ours = _value_and_slope(case.ours or default, cast(sample, torch.float64))
    assert ours[1].abs().max() > 0, "a gradient of zero compares nothing"
    plain = _value_and_slope(case.plain or default, cast(sample, torch.float64)) if case.difference else ours
    return *_apart(found, ours), max(_apart(found, plain))


def _value_and_slope(loss: Loss, sample: Sample) -> tuple[Tensor, Tensor]:
    value = loss(sample)
    return value.detach().double(), torch.autograd.grad(value, sample.logits)[0].double()


def _apart(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> tuple[float, float]:
    value = (found[0] - expected[0]).abs() / expected[0].abs().clamp(min=1)
    slope = (found[1] - expected[1]).abs().max() / expected[1].abs().max()
    return value.item(), slope.item()

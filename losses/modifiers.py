"""Modifiers of objectives and their type: NLL term, label smoothing, WPO weights, length norm, clamps."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from losses import divergence
from losses.batch import Batch, Completion, Pairs, each
from losses.numerics import precise
from losses.objective import Aggregation, CheckedAgainst, Objective, Requires, Reward
from losses.param import Param
from losses.space import Linear
from losses.testing.symmetry import depends_on_gap_only

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
        aggregation: the composed objective's aggregation; None where it stays.
        paper: arXiv id and title.
        checked_against: what the formula was compared with; empty where that is not stated.
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
    aggregation: Aggregation | None = None
    checked_against: tuple[CheckedAgainst, ...] = ()

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
    checked_against: CheckedAgainst | tuple[CheckedAgainst, ...] = (),
    reward: Callable[[Objective], Reward] | None = None,
    aggregation: Aggregation | None = None,
) -> Callable[[Callable[..., Tensor]], Modifier]:
    """Make a ``Modifier`` of the function below; ``MODIFIERS`` lists those that expressions know.

    Raises:
        ValueError: when the function has no docstring, or its keyword arguments are not ``params``.
    """

    def make(fn: Callable[..., Tensor]) -> Modifier:
        taken = set(list(inspect.signature(fn).parameters)[2:])
        if taken != set(params) or not inspect.getdoc(fn):
            raise ValueError(
                f"modifier {fn.__name__!r} must take the keyword arguments {sorted(params)} (it takes {sorted(taken)}) "
                "and have a docstring"
            )
        return Modifier(
            name=fn.__name__, fn=fn, params=MappingProxyType(dict(params)), requires=requires, refuses=refuses,
            reward=reward, paper=paper, equation=equation, version=version, aggregation=aggregation,
            checked_against=(checked_against,) if isinstance(checked_against, str) else checked_against,
        )  # fmt: skip

    return make


def _pairs_only(objective: Objective) -> str | None:
    return None if objective.batch is Pairs else f"it takes {objective.batch.__name__}, and this is defined for pairs"


def _gap_only(objective: Objective) -> str | None:
    if (reason := _pairs_only(objective) or _separable(objective)) is not None:
        return reason
    if not depends_on_gap_only(objective):
        return "its loss depends on more than the gap between the two completions"
    return None


def _separable(objective: Objective) -> str | None:
    coupled = Requires.WHOLE_BATCH in objective.requires
    return "its losses are coupled over the batch" if coupled else None


def _log_ratio_sums(objective: Objective) -> str | None:
    if objective.requires != Requires.REFERENCE or objective.reward != "log_ratio":
        return "this is defined for losses of summed log-ratios that need the reference and nothing else"
    return _gap_only(objective)


def _sums(objective: Objective) -> str | None:
    if objective.aggregation != "sum":
        return f"its log-probs are not sums over tokens ({objective.aggregation}), so there is nothing to normalise"
    if objective.requires & ~(Requires.REFERENCE | Requires.SCORES | Requires.WHOLE_BATCH):
        return "it needs more than the sums of log-probs, and that would stay as it is"
    return None


def _reference_tokens(objective: Objective) -> str | None:
    if Requires.REFERENCE not in objective.requires:
        return "it has no reference, so there are no log-ratios to clamp"
    return None


@modifier(
    params={
        "weight": Param(
            default=1.0, space=Linear(0.05, 2), symbol="α", unit="1", low=0, high=1000,
            meaning="weight of the NLL: as it grows, imitating the chosen completion counts more",
        )
    },
    requires=Requires.NOTHING,
    refuses=_pairs_only,
    paper="arXiv 2404.19733, Iterative Reasoning Preference Optimization; arXiv 2405.16436 (RPO)",
    checked_against="peer code",
    equation="ℓ - α s̄_w",
    version=1,
)  # fmt: skip
def nll(inner: Inner, batch: Pairs, *, weight: float) -> Float[Tensor, " examples"]:
    """Add the negative log-likelihood of the chosen completion, averaged over its tokens (RPO, IRPO).

    Differs from: trl, whose term averages over the tokens of a micro-batch, so that long completions weigh more.
    """
    return inner(batch) - weight * batch.chosen.mean_policy


@modifier(
    params={
        "epsilon": Param(
            default=0.1, space=Linear(0.05, 0.3), symbol="ε", unit="1", low=0, high=0.499,
            meaning="assumed share of flipped labels: as it grows, the gap that is aimed at shrinks",
        )
    },
    requires=Requires.NOTHING,
    refuses=_gap_only,
    paper="no arXiv id; Mitchell 2023, A note on DPO with noisy preferences & relationship to IPO",
    checked_against="peer code",
    equation="(1 - ε) ℓ(w, l) + ε ℓ(l, w)",
    version=1,
)  # fmt: skip
def smooth(inner: Inner, batch: Pairs, *, epsilon: float) -> Float[Tensor, " examples"]:
    """Smooth the labels: a share ε of each pair counts the other way round. ``dpo+smooth`` is cdpo."""
    gap = None if batch.score_gap is None else -batch.score_gap
    swapped = Pairs(chosen=batch.rejected, rejected=batch.chosen, score_gap=gap)
    return (1 - epsilon) * inner(batch) + epsilon * inner(swapped)


@modifier(
    params={},
    requires=Requires.TOKENS | Requires.COLLISION,
    refuses=lambda objective: _pairs_only(objective) or _separable(objective),
    paper="arXiv 2406.11827, WPO: Enhancing RLHF with Weighted Preference Optimization",
    checked_against="peer code",
    equation="sg[w_w w_l] ℓ, w = exp(mean_t(log π(y_t) - log Σ_v π(v)²))",
    version=1,
)
def wpo(inner: Inner, batch: Pairs) -> Float[Tensor, " examples"]:
    """Weigh each pair by how likely the policy is to write its completions, so that old data count as on-policy ones.

    Equation 2 of the paper; trl does the same.

    Differs from: the authors' code, which has no weight above 1 (``wpo_clamped``); open-instruct, which multiplies
    shapes that do not fit and lets a gradient into the weights.
    """
    return _likeliness(batch.chosen) * _likeliness(batch.rejected) * inner(batch)


@modifier(
    params={},
    requires=Requires.TOKENS | Requires.COLLISION,
    refuses=lambda objective: _pairs_only(objective) or _separable(objective),
    paper="arXiv 2406.11827, WPO: Enhancing RLHF with Weighted Preference Optimization",
    checked_against="authors' code",
    equation="sg[min(1, w_w w_l)] ℓ, w = exp(mean_t(log π(y_t) - log Σ_v π(v)²))",
    version=1,
)
def wpo_clamped(inner: Inner, batch: Pairs) -> Float[Tensor, " examples"]:
    """Weigh pairs as wpo, at most by 1: no pair counts more than an on-policy one. The authors' code does so."""
    return (_likeliness(batch.chosen) * _likeliness(batch.rejected)).clamp(max=1) * inner(batch)


def _likeliness(side: Completion) -> Float[Tensor, " examples"]:
    return (side.mean_policy.detach() - side.mean_log_collision).clamp(max=divergence.LARGEST_EXPONENT / 2).exp()


@modifier(
    params={},
    requires=Requires.NOTHING,
    refuses=_sums,
    reward=lambda objective: "mean_log_ratio" if objective.reward == "log_ratio" else "mean_policy",
    aggregation="mean",
    paper="arXiv 2405.14734, SimPO (section on length normalisation); arXiv 2411.15124 (Tülu 3)",
    checked_against="secondary",
    equation="ℓ with s/n for s and r/n for r",
    version=1,
)
def length_norm(inner: Inner, batch: Batch) -> Float[Tensor, " examples"]:
    """Put averages over tokens in the place of sums. ``dpo+length_norm`` is ln_dpo; β then belongs on its scale."""
    return inner(each(batch, _averaged))


def _averaged(side: Completion) -> Completion:
    length = side.length[:, None]
    reference = None if side.reference_logps is None else precise(side.reference_logps) / length
    return replace(side, policy_logps=precise(side.policy_logps) / length, reference_logps=reference)


@modifier(
    params={
        "low": Param(
            default=-1.0, space=Linear(-2, -0.5), symbol="log ε_P", unit="nats", low=-100, high=0,
            meaning="lowest log-ratio of a token: as it grows, fewer tokens that became unlikely count",
        ),
        "high": Param(
            default=1.5, space=Linear(0.5, 2), symbol="log ε_R", unit="nats", low=0, high=100,
            meaning="highest log-ratio of a token: as it grows, more tokens that became likely count",
        ),
    },
    requires=Requires.TOKENS,
    refuses=_reference_tokens,
    paper="arXiv 2509.24207, humanline variants",
    checked_against="authors' code",
    equation="ℓ with min(max(log π/π_ref, low), high) for the log-ratio of each token",
    version=1,
)  # fmt: skip
def humanline(inner: Inner, batch: Batch, *, low: float, high: float) -> Float[Tensor, " examples"]:
    """Clamp the log-ratio of each token; beyond the clamp it has no gradient.

    The authors also copy the policy to the reference at intervals: that is a reference schedule, see tr_dpo_hard.
    """

    def clamped(side: Completion) -> Completion:
        reference = side.at_reference().policy_logps
        ratio = (precise(side.policy_logps) - precise(reference)).clamp(low, high)
        return replace(side, policy_logps=reference + ratio)

    return inner(each(batch, clamped))


def _linked(batch: Batch, link: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with link(Δ) for each log-ratio, carried by one token of a reference of zero."""

    def change(side: Completion) -> Completion:
        value = link(side.log_ratio)[:, None]
        return Completion(value, torch.zeros_like(value), torch.ones_like(value, dtype=torch.bool))

    return each(batch, change)


@modifier(
    params={},
    requires=Requires.NOTHING,
    refuses=_log_ratio_sums,
    paper=divergence.PAPER,
    checked_against="peer code",
    equation="ℓ with 1 - e^(-Δw) for Δw and 1 - e^(-Δl) for Δl",
    version=1,
)
def forward_kl(inner: Inner, batch: Pairs) -> Float[Tensor, " examples"]:
    """Tie the policy to the reference by the forward KL. The exponent is clamped at 30 nats."""
    return inner(_linked(batch, divergence.forward_kl))


@modifier(
    params={},
    requires=Requires.NOTHING,
    refuses=_log_ratio_sums,
    paper=divergence.PAPER,
    checked_against="peer code",
    equation="ℓ with log 2 + log σ(Δw) for Δw and the same for Δl",
    version=1,
)
def js(inner: Inner, batch: Pairs) -> Float[Tensor, " examples"]:
    """Tie the policy to the reference by the Jensen-Shannon divergence."""
    return inner(_linked(batch, divergence.jensen_shannon))


@modifier(
    params={
        "alpha": Param(
            default=0.5, space=Linear(0.1, 0.9), symbol="α", unit="1", low=0.01, high=0.99,
            meaning="order of the divergence: as it grows towards 1 it becomes the reverse KL of dpo",
        )
    },
    requires=Requires.NOTHING,
    refuses=_log_ratio_sums,
    paper=divergence.PAPER,
    checked_against="peer code",
    equation="ℓ with (e^((α-1)Δ) - 1)/(α - 1) for Δw and for Δl",
    version=1,
)  # fmt: skip
def alpha_divergence(inner: Inner, batch: Pairs, *, alpha: float) -> Float[Tensor, " examples"]:
    """Tie the policy to the reference by an α-divergence. The exponent is clamped at 30 nats.

    Differs from: trl up to 0.28, where α meant 1 - α.
    """
    return inner(_linked(batch, lambda ratio: divergence.alpha_divergence(ratio, alpha)))


MODIFIERS: Mapping[str, Modifier] = MappingProxyType(
    {
        each.name: each
        for each in (nll, smooth, wpo, wpo_clamped, length_norm, humanline, forward_kl, js, alpha_divergence)
    }
)

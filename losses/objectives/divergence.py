"""DPO under other divergences than the reverse KL: forward KL, Jensen-Shannon, α-divergences, mixed χ² and KL."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from losses import divergence
from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.objectives.dpo import BETA
from losses.param import Param
from losses.space import Linear, Log


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=divergence.PAPER,
    checked_against="peer code",
    equation="-log σ(β (g(Δw) - g(Δl))), g(z) = 1 - e^-z",
    optimum="no finite optimum on separable pairs: g(Δw) - g(Δl) → ∞, and so Δl → -∞, for g < 1",
    differs=(
        "trl up to 0.28 has no forward KL",
        "trl 1.16 does not clamp the exponent: its loss is infinite at Δ = -100 in float32",
    ),
    initial=lambda beta: math.log(2),
    version=1,
)
def dpo_forward_kl(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO for a policy tied to the reference by KL(π_ref ‖ π), which punishes what the policy no longer covers.

    f-DPO puts f'(e^z) in the place of the log-ratio z.
    At policy = reference the loss is log 2 and its gradient -β/2 on Δw, +β/2 on Δl, as for dpo.

    The exponent -z is clamped at 30: a completion more than 30 nats below the reference gets no gradient.
    The implicit reward is β g(Δ), which rises with the log-ratio, steeply below 0 and less and less above.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller gap; the space is that of dpo, as g'(0) = 1.
    """

    g = divergence.forward_kl
    return -log_sigmoid(beta * (g(pairs.chosen.log_ratio) - g(pairs.rejected.log_ratio)))


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=divergence.PAPER,
    checked_against="peer code",
    equation="-log σ(β (g(Δw) - g(Δl))), g(z) = log 2 + log σ(z)",
    optimum="no finite optimum on separable pairs: g(Δw) - g(Δl) → ∞, and so Δl → -∞, for g < log 2",
    initial=lambda beta: math.log(2),
    version=1,
)
def dpo_js(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO for a policy tied to the reference by the Jensen-Shannon divergence, between the two KLs.

    f-DPO puts f'(e^z) in the place of the log-ratio z.
    At policy = reference the loss is log 2 and its gradient -β/4 on Δw, +β/4 on Δl: half that of dpo, as g'(0) = 1/2.

    The implicit reward is β g(Δ): it follows the log-ratio far below 0 and levels off above. log 2 cancels.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller gap. Near the reference it acts like β/2 in dpo.
    """
    g = divergence.jensen_shannon
    return -log_sigmoid(beta * (g(pairs.chosen.log_ratio) - g(pairs.rejected.log_ratio)))


@objective(
    params={
        "beta": BETA,
        "alpha": Param(
            default=0.5,
            space=Linear(0.1, 0.9),
            symbol="α",
            unit="1",
            meaning="place between the two KLs: as it grows from 0 to 1, forward KL turns into reverse KL",
            low=0.01,
            high=0.99,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=divergence.PAPER,
    checked_against="peer code",
    equation="-log σ(β (g(Δw) - g(Δl))), g(z) = (e^((α-1) z) - 1)/(α - 1)",
    optimum="no finite optimum on separable pairs: g(Δw) - g(Δl) → ∞, and so Δl → -∞, for g < 1/(1 - α)",
    reduces_to=("alpha → 1: dpo", "alpha → 0: dpo_forward_kl"),
    differs=(
        "trl up to 0.28 took g(z) = (1 - e^(-α z))/α with α = 1 by default: its α is 1 minus this one",
        "trl clamps the exponent at 80 in float32 and bfloat16, at 11 in float16; here at 30",
    ),
    initial=lambda beta, alpha: math.log(2),
    version=1,
)
def dpo_alpha(pairs: Pairs, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """DPO for a policy tied to the reference by an α-divergence, which leads from the forward to the reverse KL.

    f-DPO puts f'(e^z) in the place of the log-ratio z. The meaning of α is that of trl since 0.29.
    At policy = reference the loss is log 2 and its gradient -β/2 on Δw, +β/2 on Δl, as for dpo.

    The exponent (α-1) z is clamped at 30: a completion more than 30/(1-α) nats below the reference gets no gradient.
    The implicit reward is β g(Δ), which rises with the log-ratio.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller gap; the space is that of dpo, as g'(0) = 1.
        alpha: α, pure number. As it grows towards 1 the loss nears dpo, as it falls towards 0 dpo_forward_kl.
    """

    chosen, rejected = (divergence.alpha_divergence(side.log_ratio, alpha) for side in (pairs.chosen, pairs.rejected))
    return -log_sigmoid(beta * (chosen - rejected))


@objective(
    params={
        "beta": Param(
            default=0.05,
            space=Log(0.005, 0.5),
            symbol="β",
            unit="1/nat",
            meaning="strength of the tie to the reference: as it grows, a smaller gap satisfies a pair",
            low=1e-5,
            high=1000,
        ),
        "clip": Param(
            default=10,
            space=Log(1, 100),
            symbol="R",
            unit="1",
            meaning="bound on rewards: as it grows, pairs with a wider gap still count",
            low=1e-3,
            high=1e4,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=(
        "arXiv 2407.13399, Correcting the Mythos of KL-Regularization: Direct Alignment without Overoptimization via "
        "Chi-Squared Preference Optimization"
    ),
    checked_against="secondary",
    equation="-log σ(clip(β (φ(Δw) - φ(Δl)), -2R, 2R)), φ(z) = e^z + z",
    optimum="β (φ(Δw) - φ(Δl)) ≥ 2R on every pair: there the loss is flat at log(1 + e^-2R)",
    initial=lambda beta, clip: math.log(2),
    version=1,
)
def chi_po(pairs: Pairs, *, beta: float, clip: float) -> Float[Tensor, " examples"]:
    """DPO for a policy tied to the reference by χ² and KL together, so that it pays dearly for unseen completions.

    Both defaults are ours.
    At policy = reference the loss is log 2 and its gradient -β on Δw, +β on Δl: twice that of dpo, as φ'(0) = 2.

    The exponent z is clamped at 30. A pair outside the clip has no gradient, on the wrong side as on the right one.
    The implicit reward is β φ(Δ), which rises with the log-ratio, exponentially above 0.

    Parameters:
        beta: β, 1/nat. As it grows a smaller gap satisfies a pair, and fewer pairs lie inside the clip.
        clip: R, pure number. As it grows pairs with a wider gap, right or wrong, still have a gradient.
    """

    def phi(z: Tensor) -> Tensor:
        return torch.exp(z.clamp(max=divergence.LARGEST_EXPONENT)) + z

    gap = beta * (phi(pairs.chosen.log_ratio) - phi(pairs.rejected.log_ratio))
    return -log_sigmoid(gap.clamp(-2 * clip, 2 * clip))

"""Owns the squared losses with a finite target gap: IPO on token averages, and on sums."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.objective import Param, Requires, objective
from losses.space import Log

TAU = Param(
    default=0.1,
    space=Log(0.01, 10),
    symbol="τ",
    unit="1/nat",
    meaning="strength of the tie to the reference: as it grows, the gap 1/(2τ) that is aimed at shrinks",
    low=1e-5,
    high=1000,
)


@objective(
    params={"beta": TAU},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="mean_log_ratio",
    aggregation="mean",
    paper="arXiv 2310.12036, A General Theoretical Paradigm to Understand Learning from Human Preferences",
    equation="(Δ̄ - 1/(2τ))²",
    optimum="Δ̄ = 1/(2τ) nats per token on every pair",
    reduces_to=("completions of one token: ipo_sum",),
    differs=(
        "direct-preference-optimization, OpenRLHF, oat and trl's online DPO sum over tokens (here: ipo_sum)",
        "trl up to 0.7.9 summed, from 0.7.11 on averages",
        "HALOs divides by the count of non-zero token log-ratios: 0/0 at policy = reference",
    ),
    initial=lambda beta: (1 / (2 * beta)) ** 2,
    version=1,
)
def ipo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Regress the gap of per-token log-ratios on a finite target, so that certain preferences cannot overfit.

    Equation: (Δ̄ - 1/(2τ))², with Δ̄ = Δ̄w - Δ̄l of averages over tokens.
    Source: arXiv 2310.12036, equation 17; averages over tokens as its authors confirmed for their experiments, though
    the paper does not print them.
    At policy = reference the loss is 1/(4τ²) and its gradient -1/τ on Δ̄w, +1/τ on Δ̄l.

    Parameters:
        beta: τ, 1/nat. As it grows the target 1/(2τ) shrinks and the policy stays nearer to the reference. The space
            is that of token averages, 0.01 to 10; for sums see ipo_sum: the two never mix.

    Beware of clipping: at τ ≤ 0.1 the target is 5 nats *per token* or more, out of practical reach, so the gradient
    stays near its start, 1/(τ n) on each of n tokens (DPO: β/2). It is then clipped at every step and the learning
    rate alone decides how far the policy goes; sweep it together with τ.

    Differs from: code that sums (direct-preference-optimization, OpenRLHF, oat, trl's online DPO, trl <= 0.7.9); HALOs,
    which divides by the count of non-zero token log-ratios and so gives NaN at policy = reference.
    """
    gap = pairs.chosen.mean_log_ratio - pairs.rejected.mean_log_ratio
    return (gap - 1 / (2 * beta)) ** 2


@objective(
    params={"beta": replace(TAU, space=Log(1e-3, 1))},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2310.12036, A General Theoretical Paradigm to Understand Learning from Human Preferences",
    equation="(Δ - 1/(2τ))²",
    optimum="Δ = 1/(2τ) nats on every pair",
    reduces_to=("completions of one token: ipo",),
    differs=("trl since 0.7.11, HALOs, LLaMA-Factory and ms-swift average over tokens (here: ipo)",),
    initial=lambda beta: (1 / (2 * beta)) ** 2,
    version=1,
)
def ipo_sum(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """IPO as its paper prints it: regress the gap of the summed log-ratios on a finite target.

    Equation: (Δ - 1/(2τ))², with Δ = Δw - Δl of sums over tokens.
    Source: arXiv 2310.12036, equation 17.
    At policy = reference the loss is 1/(4τ²) and its gradient -1/τ on Δw, +1/τ on Δl.

    Parameters:
        beta: τ, 1/nat. As it grows the target 1/(2τ) shrinks. The space is that of sums, 0.001 to 1, a decade below
            that of ipo: the same τ asks for a gap smaller by the number of tokens.

    Gradients start at 1/τ on each token, n times those of ipo, and are clipped as often; see there.

    Differs from: trl since 0.7.11, HALOs, LLaMA-Factory and ms-swift, which average over tokens under the name ipo.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return (gap - 1 / (2 * beta)) ** 2

"""Losses on the odds of a completion, on token averages and without a reference: ORPO, ASFT."""

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log1mexp, log_odds, log_sigmoid
from losses.objective import Requires, objective
from losses.param import Param
from losses.space import Log


@objective(
    params={
        "lam": Param(
            default=0.1,
            space=Log(0.02, 2),
            symbol="λ",
            unit="1",
            meaning="weight of the odds ratio against the NLL: as it grows, telling apart counts more than imitating",
            low=0,
            high=1000,
        )
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2403.07691, ORPO: Monolithic Preference Optimization without Reference Model",
    checked_against=("paper", "peer code"),
    equation="-s̄_w - λ log σ(log odds(p_w) - log odds(p_l)), p = e^s̄, odds(p) = p/(1 - p)",
    optimum="s̄_w → 0 and s̄_l → -∞; the loss falls to 0",
    reduces_to=("lam = 0: sft",),
    differs=(
        "trl and the authors' code take the NLL over prompt and completion by default, here completion only",
        "LLaMA-Factory and Liger-Kernel compute log(1 - p) as log1p(-exp(s̄)), which cancels near p = 1",
        "trl's gradient is NaN at s̄ = -1e-8; trl and Liger-Kernel average the NLL over the tokens of a micro-batch",
        "the authors' code has λ = 1 by default, their paper 0.1",
    ),
    version=1,
)
def orpo(pairs: Pairs, *, lam: float) -> Float[Tensor, " examples"]:
    """Imitate the chosen completion and at once raise its odds over the rejected one's; no reference.

    Equations 6 and 7 of the paper.

    Parameters:
        lam: λ, pure number. As it grows, telling the completions apart counts more against imitating the chosen one.

    The NLL is over completion tokens, averaged within a completion and then over completions, so that long
    completions weigh no more than short ones.
    """
    chosen, rejected = pairs.chosen.mean_policy, pairs.rejected.mean_policy
    return -chosen - lam * log_sigmoid(log_odds(chosen) - log_odds(rejected))


@objective(
    params={
        "lam": Param(
            default=0.1,
            space=Log(0.02, 2),
            symbol="λ",
            unit="1",
            meaning="weight of the two odds against the NLL: as it grows, unlearning the rejected one counts more",
            low=0,
            high=1000,
        )
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2409.10571, ASFT: Aligned Supervised Fine-Tuning through Absolute Likelihood",
    checked_against="secondary",
    equation="-s̄_w - λ (log σ(log odds(p_w)) + log σ(-log odds(p_l))), p = e^s̄, odds(p) = p/(1 - p)",
    optimum="s̄_w → 0 and s̄_l → -∞; the loss falls to 0",
    reduces_to=("lam = 0: sft",),
    version=1,
)
def asft(pairs: Pairs, *, lam: float) -> Float[Tensor, " examples"]:
    """Imitate the chosen completion and lower the odds of the rejected one, each by itself: ORPO without the pair.

    Since σ(log odds(p)) = p, the loss is -(1 + λ) s̄_w - λ log(1 - p_l), which is what is computed.

    Parameters:
        lam: λ, pure number. As it grows, unlearning the rejected completion counts more against imitating the
            chosen one, whose weight is 1 + λ.
    """
    return -(1 + lam) * pairs.chosen.mean_policy - lam * log1mexp(pairs.rejected.mean_policy)

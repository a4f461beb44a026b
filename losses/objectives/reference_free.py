"""Owns the losses without a reference, all on token averages: SimPO, ORPO, SFT on the chosen completion."""

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_odds, log_sigmoid
from losses.objective import Param, Requires, objective
from losses.space import Linear, Log


@objective(
    params={
        "beta": Param(
            default=2.0,
            space=Log(1, 20),
            symbol="β",
            unit="1/nat",
            meaning="steepness: as it grows, a smaller gap of averages satisfies a pair",
            low=1e-5,
            high=1000,
        ),
        "gamma_ratio": Param(
            default=0.5,
            space=Linear(0, 1.6),
            symbol="γ/β",
            unit="nats per token",
            meaning="margin: as it grows, the chosen average must lie further above the rejected one",
            low=0,
            high=100,
        ),
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2405.14734, SimPO: Simple Preference Optimization with a Reference-Free Reward",
    equation="-log σ(β (s̄_w - s̄_l) - γ), γ = β · gamma_ratio",
    optimum="no finite optimum: s̄_w - s̄_l → ∞",
    reduces_to=("gamma_ratio = 0, completions of one token, uniform reference: dpo",),
    differs=(
        "trl, axolotl and ms-swift add an NLL term of weight 1 under this name by default (CPO-SimPO)",
        "trl, LLaMA-Factory, axolotl, ms-swift and Liger-Kernel take γ itself, not γ/β",
        "the authors' configuration class has γ/β 0.25; their advice is to start from 0.5",
    ),
    version=1,
)
def simpo(pairs: Pairs, *, beta: float, gamma_ratio: float) -> Float[Tensor, " examples"]:
    """Make the policy's average token log-prob higher on the chosen completion by a margin; no reference.

    Equation: -log σ(β (s̄_w - s̄_l) - γ) = -log σ(β (s̄_w - s̄_l - γ/β)), with averages over tokens.
    Source: arXiv 2405.14734, equation 6; γ/β as in the authors' code.

    Parameters:
        beta: β, 1/nat. As it grows a smaller gap satisfies a pair. The space is that of token averages, 1 to 20,
            far above that of dpo, which sums.
        gamma_ratio: γ/β, nats per token. As it grows the averages have to lie further apart.

    Differs from: trl, axolotl and ms-swift, whose "simpo" adds an NLL term of weight 1 by default; they,
    LLaMA-Factory and Liger-Kernel take γ and not γ/β, so a value copied from there must be divided by β.
    """
    gap = pairs.chosen.mean_policy - pairs.rejected.mean_policy
    return -log_sigmoid(beta * (gap - gamma_ratio))


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
    equation="-s̄_w - λ log σ(log odds(p_w) - log odds(p_l)), p = e^s̄, odds(p) = p/(1 - p)",
    optimum="s̄_w → 0 and s̄_l → -∞; the loss falls to 0",
    reduces_to=("lam = 0: sft",),
    differs=(
        "trl and the authors' code take the NLL over prompt and completion by default, here completion only",
        "LLaMA-Factory and Liger-Kernel compute log(1 - p) as log1p(-exp(s̄)), which cancels near p = 1",
        "the authors' code has λ = 1 by default, their paper 0.1",
    ),
    version=1,
)
def orpo(pairs: Pairs, *, lam: float) -> Float[Tensor, " examples"]:
    """Imitate the chosen completion and at once raise its odds over the rejected one's; no reference.

    Equation: -s̄_w - λ log σ(log odds(p_w) - log odds(p_l)) with p = e^s̄, odds(p) = p/(1 - p), averages over tokens.
    Source: arXiv 2403.07691, equations 6 and 7.

    Parameters:
        lam: λ, pure number. As it grows, telling the completions apart counts more against imitating the chosen one.

    The NLL is over completion tokens, averaged within a completion and then over completions, so that long
    completions weigh no more than short ones.

    Differs from: trl and the authors' code, whose NLL covers the prompt too; LLaMA-Factory and Liger-Kernel, whose
    log(1 - p) cancels near p = 1.
    """
    chosen, rejected = pairs.chosen.mean_policy, pairs.rejected.mean_policy
    return -chosen - lam * log_sigmoid(log_odds(chosen) - log_odds(rejected))


@objective(
    params={},
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2305.18290, Direct Preference Optimization (the baseline Preferred-FT)",
    equation="-s̄_w",
    optimum="s̄_w → 0: the chosen completions by heart",
    differs=("trl's sft averages over the tokens of a micro-batch, so long completions weigh more",),
    version=1,
)
def sft(pairs: Pairs) -> Float[Tensor, " examples"]:
    """Imitate the chosen completion and ignore the rejected one: the baseline that any preference loss should beat.

    Equation: -s̄_w, the negative log-likelihood of the chosen completion averaged over its tokens.
    Source: arXiv 2305.18290, section 6 (Preferred-FT).

    Differs from: trl, which averages over the tokens of a micro-batch, so that long completions weigh more and the
    loss depends on how a batch is split.
    """
    return -pairs.chosen.mean_policy

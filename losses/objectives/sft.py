"""Losses that imitate the chosen completion, no reference: SFT, unlikelihood, SimPER, CPO, SLiC-HF."""

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log1mexp, log_sigmoid, masked_mean, precise
from losses.objective import Requires, objective
from losses.param import Param
from losses.space import Linear, Log


@objective(
    params={},
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2305.18290, Direct Preference Optimization (the baseline Preferred-FT)",
    checked_against=("paper", "peer code"),
    equation="-s̄_w",
    optimum="s̄_w → 0: the chosen completions are memorised",
    differs=(
        "trl's sft averages over the tokens of a micro-batch, so long completions weigh more and the loss depends on "
        "the split",
    ),
    version=1,
)
def sft(pairs: Pairs) -> Float[Tensor, " examples"]:
    """Imitate the chosen completion and ignore the rejected one: the baseline that any preference loss should beat.

    Section 6 of the paper (Preferred-FT): the negative log-likelihood of the chosen completion, averaged over its
    tokens.
    """
    return -pairs.chosen.mean_policy


@objective(
    params={
        "alpha": Param(
            default=0.5,
            space=Log(0.05, 1),
            symbol="α",
            unit="1",
            meaning="weight of the rejected completion: as it grows, unlearning it counts more",
            low=0,
            high=1000,
        )
    },
    batch=Pairs,
    requires=Requires.TOKENS,
    reward="mean_policy",
    aggregation="tokens",
    paper="arXiv 2305.18290, Direct Preference Optimization (the baseline Unlikelihood)",
    checked_against="secondary",
    equation="-s̄_w - α/n_l Σ_t log(1 - π(y_l,t | x, y_l,<t))",
    optimum="every token of y_w certain, every token of y_l impossible; the loss falls to 0",
    reduces_to=("alpha = 0: sft",),
    version=1,
)
def unlikelihood(pairs: Pairs, *, alpha: float) -> Float[Tensor, " examples"]:
    """Imitate the chosen completion and lower the probability of each token of the rejected one.

    A baseline of the paper, in the classic form: a term per token. Averages within a completion are used, so that long
    completions weigh no more than short ones.

    A certain token of y_l (probability 1 to the last digit) counts as just short of certain and has no gradient.

    Parameters:
        alpha: α, pure number. As it grows, unlearning the rejected completion counts more.
    """
    rejected = pairs.rejected
    # Padding may hold NaN, whose gradient would survive a mask that comes after the logarithm.
    logps = torch.where(rejected.mask, precise(rejected.policy_logps), -1.0)
    return -pairs.chosen.mean_policy - alpha * masked_mean(log1mexp(logps), rejected.mask)


@objective(
    params={},
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2502.00883, SimPER: A Minimalist Approach to Preference Alignment without Hyperparameters",
    checked_against="authors' code",
    equation="-e^s̄_w + e^s̄_l",
    optimum="s̄_w → 0 and s̄_l → -∞; the loss falls to -1",
    version=1,
)
def simper(pairs: Pairs) -> Float[Tensor, " examples"]:
    """Raise the inverse perplexity of the chosen completion and lower that of the rejected one; nothing to tune.

    e^s̄ is 1/perplexity.

    An average log-prob is 0 at most, so the exponentials stay within 1. The gradient on s̄ is e^s̄ itself: it vanishes
    for completions that the policy finds unlikely.
    """
    return -pairs.chosen.mean_policy.exp() + pairs.rejected.mean_policy.exp()


@objective(
    params={
        "beta": Param(
            default=0.1,
            space=Log(0.01, 0.5),
            symbol="β",
            unit="1/nat",
            meaning="steepness: as it grows, a smaller gap of the sums satisfies a pair",
            low=1e-5,
            high=1000,
        ),
        "lam": Param(
            default=1.0,
            space=Linear(0, 2),
            symbol="λ",
            unit="1/nat",
            meaning="weight of the NLL: as it grows, imitating the chosen completion counts more",
            low=0,
            high=1000,
        ),
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="policy",
    aggregation="sum",
    paper="arXiv 2401.08417, Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance in Machine "
    "Translation",
    checked_against="peer code",
    equation="-log σ(β (s_w - s_l)) - λ s̄_w",
    optimum="s_w → 0 and s_l → -∞; the loss falls to 0",
    reduces_to=("lam = 0, completions of equal length, uniform reference: dpo",),
    differs=("trl and Liger-Kernel average the NLL over the tokens of the batch, so long completions weigh more",),
    version=1,
)
def cpo(pairs: Pairs, *, beta: float, lam: float) -> Float[Tensor, " examples"]:
    """DPO without its reference, held in place by imitation of the chosen completion instead.

    The NLL is averaged within a completion and then over completions, so that long ones weigh no more.

    Parameters:
        beta: β, 1/nat. As it grows a smaller gap satisfies a pair. The space is that of sums, and sums of log-probs
            differ by length too, so the longer completion starts behind.
        lam: λ, 1/nat. As it grows, imitating the chosen completion counts more. 0 is DPO against nothing.
    """
    return -log_sigmoid(beta * (pairs.chosen.policy - pairs.rejected.policy)) - lam * pairs.chosen.mean_policy


@objective(
    params={
        "delta": Param(
            default=1.0,
            space=Log(0.1, 10),
            symbol="δ",
            unit="nats",
            meaning="margin: as it grows, the chosen sum must lie further above the rejected one",
            low=0,
            high=1000,
        ),
        "lam": Param(
            default=0.1,
            space=Log(0.01, 10),
            symbol="λ",
            unit="1",
            meaning="weight of the NLL: as it grows, imitating the chosen completion counts more",
            low=0,
            high=1000,
        ),
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="policy",
    aggregation="sum",
    paper="arXiv 2305.10425, SLiC-HF: Sequence Likelihood Calibration with Human Feedback",
    checked_against="peer code",
    equation="[δ - s_w + s_l]+ - λ s_w",
    optimum="s_w → 0 with s_l <= s_w - δ; the loss falls to 0",
    differs=(
        "HALOs adds a value per token to a loss per example since it works token by token: a size error",
        "the 'hinge' of trl, LLaMA-Factory, ms-swift and others has a reference and no NLL: another loss",
    ),
    version=1,
)
def slic(pairs: Pairs, *, delta: float, lam: float) -> Float[Tensor, " examples"]:
    """Rank the two sums of log-probs with a margin and imitate the chosen completion; no reference.

    The term of imitation is on the chosen completion, not on a separate target.

    Parameters:
        delta: δ, nats. As it grows the sums have to lie further apart; a pair beyond it only imitates.
        lam: λ, pure number. As it grows, imitating the chosen completion counts more.
    """
    chosen, rejected = pairs.chosen.policy, pairs.rejected.policy
    return (delta - chosen + rejected).relu() - lam * chosen

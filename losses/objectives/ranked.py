"""Losses on several scored completions of a prompt: RRHF, InfoNCA, NCA, DPO's Plackett-Luce form."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Ranked
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.objectives.dpo import BETA
from losses.param import Param
from losses.space import Log

NCA_PAPER = "arXiv 2402.05369, Noise Contrastive Alignment of Language Models with Explicit Rewards"
NCA_PARAMS = {
    "beta": Param(
        default=0.01,
        space=Log(1e-3, 0.1),
        symbol="β",
        unit="1/nat",
        meaning="strength of the tie to the reference: as it grows, a smaller log-ratio does for a given label",
        low=1e-5,
        high=1000,
    ),
    "alpha": Param(
        default=1.0,
        space=Log(0.1, 10),
        symbol="α",
        unit="unit of the scores",
        meaning="temperature of the labels: as it grows, they tell the completions less apart",
        low=1e-3,
        high=1000,
    ),
}

RRHF_PAPER = "arXiv 2304.05302, RRHF: Rank Responses to Align Language Models with Human Feedback without tears"
RRHF_PARAMS = {
    "lam": Param(
        default=1.0,
        space=Log(0.1, 10),
        symbol="λ",
        unit="1",
        meaning="weight of the NLL: as it grows, imitating the best completion counts more",
        low=0,
        high=1000,
    )
}


@objective(
    params=RRHF_PARAMS,
    batch=Ranked,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper=RRHF_PAPER,
    checked_against="authors' code",
    equation="Σ over score_i < score_j of [s̄_i - s̄_j]+, - λ s̄_best",
    optimum="s̄_best → 0 and all averages in the order of the scores; the loss falls to 0",
    differs=(
        "the paper's NLL is a sum over tokens, here an average as in the ranking; the paper's: rrhf_sum",
        "the authors' code divides the NLL by the padded width of the batch, and weighs the ranking by 100",
    ),
    version=1,
)
def rrhf(ranked: Ranked, *, lam: float) -> Float[Tensor, " examples"]:
    """Bring the averages of all completions into the order of their scores and imitate the best one; no reference.

    Only the order of the scores counts; equal scores make no pair, and of several best the first is imitated.

    Parameters:
        lam: λ, pure number. As it grows, imitating the best completion counts more against the order of the others.
    """
    return _misplaced(ranked) - lam * _of_best(ranked, ranked.completion.mean_policy)


@objective(
    params=RRHF_PARAMS,
    batch=Ranked,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper=RRHF_PAPER,
    checked_against="paper",
    equation="Σ over score_i < score_j of [s̄_i - s̄_j]+, - λ s_best",
    optimum="s_best → 0 and all averages in the order of the scores; the loss falls to 0",
    reduces_to=("completions of one token: rrhf",),
    differs=("the authors' code divides the NLL by the padded width of the batch, and weighs the ranking by 100",),
    version=1,
)
def rrhf_sum(ranked: Ranked, *, lam: float) -> Float[Tensor, " examples"]:
    """RRHF with the NLL of the best completion summed over its tokens, as in the paper.

    The ranking compares averages. At the same λ the NLL then weighs more than in rrhf,
    as many times as the best one has tokens.

    Parameters:
        lam: λ, pure number. As it grows, imitating the best completion counts more; the paper's is 1.
    """
    return _misplaced(ranked) - lam * _of_best(ranked, ranked.completion.policy)


def _misplaced(ranked: Ranked) -> Float[Tensor, " examples"]:
    """Return how far the averages are out of the order of the scores, summed over pairs of completions."""
    average = ranked.by_prompt(ranked.completion.mean_policy)
    worse = ranked.scores[:, :, None] < ranked.scores[:, None, :]
    excess = (average[:, :, None] - average[:, None, :]).relu()
    return torch.where(worse, excess, 0.0).sum(dim=(1, 2))


def _of_best(ranked: Ranked, values: Tensor) -> Float[Tensor, " examples"]:
    """Return each prompt's value, of one a completion, at its best completion."""
    return ranked.by_prompt(values).gather(1, ranked.scores.argmax(dim=1, keepdim=True)).squeeze(1)


@objective(
    params=NCA_PARAMS,
    batch=Ranked,
    requires=Requires.REFERENCE | Requires.SCORES,
    reward="log_ratio",
    aggregation="sum",
    paper=NCA_PAPER,
    checked_against="authors' code",
    equation="-Σ_i p_i log softmax(β Δ)_i, p = softmax(scores/α) over the completions of a prompt",
    optimum="β Δ_i = score_i/α, up to a constant for each prompt",
    reduces_to=("two completions, alpha → 0: dpo",),
    differs=("the authors' code adds 0.01 to the score of the first completion",),
    version=1,
)
def infonca(ranked: Ranked, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """Tell which of a prompt's completions was drawn from the better policy, with the scores as soft labels.

    Δ_i is the log-ratio of completion i.
    At policy = reference the loss of a prompt with K completions is log K.

    Parameters:
        beta: β, 1/nat. As it grows a smaller log-ratio does for a given label; the space is that of sums.
        alpha: α, in the unit of the scores. As it grows the labels tell the completions less apart; towards 0 only the
            best one counts.
    """
    reward = beta * ranked.by_prompt(ranked.completion.log_ratio)
    labels = torch.softmax(ranked.scores.to(reward.dtype) / alpha, dim=-1)
    return -(labels * torch.log_softmax(reward, dim=-1)).sum(-1)


@objective(
    params=NCA_PARAMS,
    batch=Ranked,
    requires=Requires.REFERENCE | Requires.SCORES,
    reward="log_ratio",
    aggregation="sum",
    paper=NCA_PAPER,
    checked_against="authors' code",
    equation="-Σ_i [p_i log σ(β Δ_i) + (1/K) log σ(-β Δ_i)], p = softmax(scores/α) over the K completions of a prompt",
    optimum="β Δ_i = log(K p_i)",
    reduces_to=("two completions, alpha → 0: nca_pair",),
    differs=("the authors' code adds 0.01 to the score of the first completion",),
    initial=lambda beta, alpha: 2 * math.log(2),
    version=1,
)
def nca(ranked: Ranked, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """InfoNCA that judges each completion by itself, so that the likelihood of good ones has no reason to fall.

    Δ_i is the log-ratio of completion i.
    At policy = reference the loss is 2 log 2 and its gradient -β (p_i - 1/K)/2 on Δ_i.

    Parameters:
        beta: β, 1/nat, as for infonca; the space is that of sums.
        alpha: α, in the unit of the scores, as for infonca.
    """
    reward = beta * ranked.by_prompt(ranked.completion.log_ratio)
    labels = torch.softmax(ranked.scores.to(reward.dtype) / alpha, dim=-1)
    return -(labels * log_sigmoid(reward) + log_sigmoid(-reward) / reward.shape[1]).sum(-1)


@objective(
    params={"beta": BETA},
    batch=Ranked,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2305.18290, Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
    checked_against="paper",
    equation="-Σ_k log(e^(β Δ_τ(k)) / Σ_{j>=k} e^(β Δ_τ(j))), τ = completions in the order of their scores, best first",
    optimum="no finite optimum on separable rankings: Δ_τ(k) - Δ_τ(k+1) → ∞",
    reduces_to=("two completions: dpo",),
    version=1,
)
def dpo_pl(ranked: Ranked, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO for whole rankings: the best is chosen among all, the second best among the rest, and so on.

    The Plackett-Luce model (appendix A.3 of the paper); Δ_i is the log-ratio of completion i.
    At policy = reference the loss of a prompt with K completions is log K!.

    Only the order of the scores counts; completions of equal score count as ranked in the order they stand in.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
    """
    order = ranked.scores.argsort(dim=-1, descending=True, stable=True)
    reward = beta * ranked.by_prompt(ranked.completion.log_ratio).gather(1, order)
    # The last completion is left out: it is chosen from itself alone, log 1.
    stages = [torch.logsumexp(reward[:, k:] - reward[:, k, None], dim=-1) for k in range(reward.shape[1] - 1)]
    return torch.stack(stages).sum(0)

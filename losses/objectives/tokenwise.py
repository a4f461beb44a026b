"""Forms of DPO that weigh single tokens, or KL divergences at them: LD-DPO, SamPO, TDPO."""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from losses.batch import Completion, Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.objectives.dpo import BETA
from losses.param import Param
from losses.space import Linear


@objective(
    params={
        "beta": BETA,
        "alpha": Param(
            default=0.5,
            space=Linear(0, 1),
            symbol="α",
            unit="1",
            meaning="weight of tokens beyond the length of the other completion: as it grows length pays more",
            low=0,
            high=1,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.TOKENS,
    reward="log_ratio",
    aggregation="tokens",
    paper="arXiv 2409.06411, Length Desensitization in Direct Preference Optimization",
    checked_against="peer code",
    equation="-log σ(β Δ'), Δ' of sums in which tokens after the first min(n_w, n_l) have the weight α",
    optimum="no finite optimum: Δ' → ∞",
    reduces_to=("alpha = 1: dpo", "completions of equal length: dpo"),
    differs=("LLaMA-Factory weighs the policy only: there Δ' is not 0 at policy = reference",),
    initial=lambda beta, alpha: math.log(2),
    version=1,
)
def ld_dpo(pairs: Pairs, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """DPO in which the tokens by which one completion is longer than the other count less.

    Δ' = Δw' - Δl' with Δw' = (head of Δw) + α (tail of Δw); the head is the first min(n_w, n_l) completion tokens, the
    tail the others. Policy and reference are weighed alike.
    At policy = reference the loss is log 2 and its gradient -β/2 on the head of Δw, -αβ/2 on its tail.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        alpha: α, a share. As it grows the tail counts more: 0 leaves it out, 1 is dpo.
    """
    heads = torch.minimum(pairs.chosen.length, pairs.rejected.length)
    gap = _weighed(pairs.chosen, heads, alpha) - _weighed(pairs.rejected, heads, alpha)
    return -log_sigmoid(beta * gap)


def _weighed(side: Completion, heads: Float[Tensor, " examples"], alpha: float) -> Float[Tensor, " examples"]:
    """Sum of log-ratios with weight 1 on the first ``heads`` completion tokens of a row and ``alpha`` after them."""
    head = replace(side, mask=side.mask & (side.mask.cumsum(-1) <= heads[:, None]))
    return alpha * side.log_ratio + (1 - alpha) * head.log_ratio


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.TOKENS,
    reward="log_ratio",
    aggregation="tokens",
    paper=(
        "arXiv 2406.10957, Eliminating Biased Length Reliance of Direct Preference Optimization via Down-Sampled KL "
        "Divergence"
    ),
    checked_against="authors' code",
    equation="-log σ(β Δ'), Δ' of sums over min(n_w, n_l) tokens, drawn from the longer completion",
    optimum="no finite optimum: Δ' → ∞",
    reduces_to=("completions of equal length: dpo",),
    differs=(
        "the authors' code draws anew for the reference: policy and reference are summed over different tokens",
        "here a draw is fixed by the two lengths, so that no epoch and no process draws other tokens",
    ),
    initial=lambda beta: math.log(2),
    version=1,
)
def sampo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO on as many tokens of the longer completion as the shorter one has, drawn at random without replacement.

    Each sum is over m = min(n_w, n_l) tokens: all of the shorter completion, m drawn ones of the longer. Policy and
    reference are summed over the same tokens.
    At policy = reference the loss is log 2 and its gradient -β/2 on each drawn token of the chosen completion.

    The draw is a function of (n_w, n_l) alone: the first m of a permutation of the longer length from a generator
    seeded with 65536 n_w + n_l. So pairs of equal lengths keep the same places, in every epoch.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
    """
    chosen_drawn, rejected_drawn = _drawn(pairs.chosen.mask, pairs.rejected.mask)
    chosen, rejected = replace(pairs.chosen, mask=chosen_drawn), replace(pairs.rejected, mask=rejected_drawn)
    return -log_sigmoid(beta * (chosen.log_ratio - rejected.log_ratio))


def _drawn(
    chosen: Bool[Tensor, "examples chosen_tokens"], rejected: Bool[Tensor, "examples rejected_tokens"]
) -> tuple[Bool[Tensor, "examples chosen_tokens"], Bool[Tensor, "examples rejected_tokens"]]:
    """Return the masks with as many tokens in each row of one as in that row of the other, by sampo's draw."""
    kept_chosen, kept_rejected = chosen.clone(), rejected.clone()
    for row, (n_w, n_l) in enumerate(zip(chosen.sum(-1).tolist(), rejected.sum(-1).tolist(), strict=True)):
        generator = torch.Generator().manual_seed(65536 * n_w + n_l)
        left_out = torch.randperm(max(n_w, n_l), generator=generator)[min(n_w, n_l) :].to(chosen.device)
        longer = (kept_chosen if n_w > n_l else kept_rejected)[row]
        longer[longer.nonzero().flatten()[left_out]] = False
    return kept_chosen, kept_rejected


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.VOCAB_KL,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2404.11999, Token-level Direct Preference Optimization",
    checked_against="authors' code",
    equation="-log σ(β (Δ - (K_l - K_w))), K = Σ_t KL(π_ref ‖ π) over the vocabulary at each token",
    optimum="no finite optimum: Δ - (K_l - K_w) → ∞",
    reduces_to=("K_w = K_l: dpo",),
    initial=lambda beta: math.log(2),
    version=1,
)
def tdpo1(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO whose gap is corrected by how far the policy has moved from the reference along each completion.

    The authors' code chooses this form and not tdpo2 by default.
    At policy = reference the loss is log 2 and its gradient that of dpo, for there K and its gradient are 0.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.

    K needs the log-probs of both models over the whole vocabulary, so sums of the reference cannot be kept instead.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return -log_sigmoid(beta * (gap - (pairs.rejected.sequence_kl - pairs.chosen.sequence_kl)))


@objective(
    params={
        "beta": BETA,
        "alpha": Param(
            default=0.5,
            space=Linear(0.1, 2),
            symbol="α",
            unit="1",
            meaning="weight of the KL divergences: as it grows, the policy is held back more on rejected completions",
            low=0,
            high=1000,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.VOCAB_KL,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2404.11999, Token-level Direct Preference Optimization",
    checked_against="authors' code",
    equation="-log σ(β (Δ - α (K_l - sg[K_w]))), K = Σ_t KL(π_ref ‖ π) over the vocabulary at each token",
    optimum="no finite optimum: Δ - α (K_l - K_w) → ∞",
    reduces_to=("alpha = 0: dpo",),
    differs=("in the authors' code the configuration chooses tdpo1 by default, the function tdpo2",),
    initial=lambda beta, alpha: math.log(2),
    version=1,
)
def tdpo2(pairs: Pairs, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """TDPO that does not reward divergence on the chosen completion, and weighs the correction by α.

    At policy = reference the loss is log 2 and its gradient that of dpo, for there K and its gradient are 0.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        alpha: α, pure number. As it grows divergence on the rejected completion costs more; 0 is dpo. At 1 the value
            is that of tdpo1, the gradient is not.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return -log_sigmoid(beta * (gap - alpha * (pairs.rejected.sequence_kl - pairs.chosen.sequence_kl.detach())))

"""The population risk of our losses, and its minimum found by a general-purpose optimiser that knows no formula."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.suites.exact.theory.population import Population
from losses import Completion, Pairs, Ranked, Requires, get


def random_problem(
    seed: int, *, completions: int, labels: str = "any", tokens: str = "many", contexts: int = 2, flips: float = 0.0
) -> Population:
    """``labels``: "bradley-terry" (of the rewards) or "any"; ``tokens``: "many" (1 to 4), "equal" (3) or "one"."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(contexts, completions))
    reward = draw.normal(size=(contexts, completions))
    gaps = reward[:, :, None] - reward[:, None, :]
    if labels == "any":
        gaps = draw.uniform(-2, 2, size=gaps.shape)
        gaps = np.triu(gaps, 1) - np.triu(gaps, 1).swapaxes(-1, -2)
    preference = 1 / (1 + np.exp(-gaps))
    lengths = {"many": draw.permutation(np.arange(completions) % 4) + 1}.get(tokens)
    if lengths is None:
        lengths = np.full(completions, {"equal": 3, "one": 1}[tokens])
    return Population(
        log_ref=logits - np.log(np.exp(logits).sum(-1, keepdims=True)),
        preference=preference * (1 - flips) + preference.swapaxes(-1, -2) * flips,
        lengths=lengths,
        reward=reward,
    )


def flat(population: Population) -> Population:
    """The same with an even reference."""
    return replace(population, log_ref=np.full_like(population.log_ref, -np.log(population.completions)))


def risk(
    name: str, params: Mapping[str, float], population: Population, log_policy: Tensor, *, copies: int | None = None
) -> Tensor:
    """Mean loss of all pairs and labels. ``copies``: rows a pair for losses of a whole batch, P · copies of them i ≻ j.

    A completion's log-prob is spread evenly over its tokens.
    """
    objective = get(name)
    pairs_of_all = np.broadcast_to(population.pairs, population.preference.shape)
    context, i, j = (torch.as_tensor(index) for index in np.nonzero(pairs_of_all))
    weight = torch.as_tensor(population.preference)[context, i, j]
    if copies is not None:
        context, i, j = (index.repeat_interleave((weight * copies).round().long()) for index in (context, i, j))
        weight = torch.full((len(i),), float(i.shape[0]) ** -1, dtype=torch.float64)
    weight = weight / weight.sum()
    reward = torch.as_tensor(population.reward)
    chosen, rejected = (_completion(population, log_policy, context, side) for side in (i, j))
    if objective.batch is Pairs:
        pairs = Pairs(chosen, rejected, score_gap=reward[context, i] - reward[context, j])
        return (weight * objective(pairs, **params)).sum()
    assert objective.batch is Ranked, "no unpaired objective has a closed form"
    both = _completion(population, log_policy, context.repeat_interleave(2), torch.stack((i, j), 1).flatten())
    scores = torch.stack((reward[context, i], reward[context, j]), 1)
    if Requires.SCORES not in objective.requires:
        scores = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(len(i), 1)
    return (weight * objective(Ranked(both, scores), **params)).sum()


def _completion(population: Population, log_policy: Tensor, context: Tensor, side: Tensor) -> Completion:
    log_ref, lengths = torch.as_tensor(population.log_ref), torch.as_tensor(population.lengths)
    mask = torch.arange(int(lengths.max())) < lengths[side, None]

    def spread(values: Tensor) -> Tensor:
        return (values[context, side] / lengths[side])[:, None].expand(mask.shape)

    # Right for completions of one token, whose vocabulary is the completions.
    divergence = (log_ref.exp() * (log_ref - log_policy)).sum(-1)
    entropy = -(log_ref.exp() * log_ref).sum(-1) / np.log(population.completions)
    return Completion(
        policy_logps=spread(log_policy),
        reference_logps=spread(log_ref),
        mask=mask,
        token_kl=divergence[context, None].expand(mask.shape),
        reference_entropy=entropy[context, None].expand(mask.shape),
    )


def slope(name: str, params: Mapping[str, float], population: Population, log_policy: np.ndarray) -> Tensor:
    """Gradient of the risk on the logits of a policy."""
    logits = torch.tensor(log_policy, requires_grad=True)
    loss = risk(name, params, population, logits.log_softmax(-1))
    return torch.autograd.grad(loss, logits)[0]


def minimised(
    name: str, params: Mapping[str, float], population: Population, *, copies: int | None = None
) -> np.ndarray:
    """log π where L-BFGS on the logits ends, from a start near the reference."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=population.log_ref.shape)
    logits = torch.tensor(population.log_ref + noise, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logits], lr=1, max_iter=400, history_size=20, tolerance_grad=1e-11, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = risk(name, params, population, logits.log_softmax(-1), copies=copies)
        loss.backward()
        return loss

    optimiser.step(closure)
    return logits.detach().log_softmax(-1).numpy()


def divergence(log_policy: np.ndarray, other: np.ndarray) -> float:
    """Largest KL(policy ‖ other) of a context, nats."""
    return float((np.exp(log_policy) * (log_policy - other)).sum(-1).max())

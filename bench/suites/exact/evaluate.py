"""The evaluation of a checkpoint on an enumerable problem: expectations over all completions, none sampled."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.core.record import Metric
from bench.core.samples import SampleRow
from bench.core.specs import EvaluationSpec
from bench.data.collate import Padded
from bench.errors import UsageError
from bench.evaluate.checkpoint import EvaluationResult
from bench.evaluate.metrics.aggregate import Measured, mean_metrics
from bench.models.completion_logits import completion_logits
from bench.models.eval_mode import evaluating
from bench.models.table_model import END
from bench.suites.exact.measures import (
    entropy,
    expected_reward,
    frontier,
    implicit_reward_error,
    kl,
    optimal_policy,
    win_rate,
)
from bench.suites.exact.problem import Array, Problem, sequence_logps

TASK = "exact"
ROWS = 4096
"""Rows of one forward pass at most."""


def evaluate_exact(
    model: PreTrainedModel,
    problem: Problem,
    *,
    tokenizer: PreTrainedTokenizerBase,
    spec: EvaluationSpec,
    reward: str,
    params: Mapping[str, float],
) -> EvaluationResult:
    """Measure a causal LM on the contexts of ``spec.split``, ``spec.prompts`` of them at most.

    Task "generation" has what sampling would estimate: ``gold_reward`` E[r*], ``kl`` KL(π‖π_ref), ``target``
    J = E[r*] − β₀ · KL and ``length`` (tokens); their values for each context are the scores. Task "exact" has what
    only a known optimum gives. With π* the optimum at β₀, ``kl_to_optimum`` is KL(π‖π*) and ``regret`` β₀ times that,
    which is J(π*) − J(π). ``optimal_reward`` is the frontier's at the policy's own KL, ``frontier_gap`` what is missing
    to it. ``entropy``, ``win_rate`` against the start model, ``best_mass`` and ``worst_mass`` of the completions
    with the highest and the lowest r*, and, where the objective's reward is a log-ratio with a β,
    ``implicit_reward_error``. Standard errors are over contexts. Rows hold each context's most probable completion:
    its own r*, its context's KL.

    Args:
        reward: the objective's definition of the implicit reward (``log_ratio``, ``mean_policy``, …).
        params: the objective's parameters; ``beta`` scales the implicit reward.

    Raises:
        UsageError: the specification asks for a temperature other than 1.
    """
    if spec.temperature != 1.0:
        raise UsageError(
            f"evaluation.temperature={spec.temperature}: an exact evaluation is of the policy itself",
            fix="--set evaluation.temperature=1.0",
        )
    contexts = problem.contexts(spec.split)[: spec.prompts]
    log_policy = policy_logps(model, problem, contexts=contexts)
    log_ref, gold = problem.log_ref[list(contexts)], problem.reward[list(contexts)]
    scores = _scores(log_policy, log_ref, gold, lengths=problem.lengths.astype(np.float64), beta0=spec.beta0)
    measured: Measured = {
        name: (values, True if name in ("gold_reward", "target") else None) for name, values in scores.items()
    }
    beta = params.get("beta") if reward == "log_ratio" else None
    return EvaluationResult(
        metrics=(
            *mean_metrics(measured, task="generation", split=spec.split),
            *_frontier_metrics(scores, log_ref, gold, split=spec.split),
            *mean_metrics(
                _distances(log_policy, log_ref, gold, beta0=spec.beta0, beta=beta), task=TASK, split=spec.split
            ),
        ),
        scores={name: values.tolist() for name, values in scores.items()},
        rows=tuple(_rows(problem, contexts, log_policy, scores["kl"], tokenizer=tokenizer)),
    )


@torch.no_grad()
def policy_logps(model: PreTrainedModel, problem: Problem, *, contexts: Sequence[int]) -> Array:
    """Return log π(y|x) of every completion of these contexts, nats, float64 ``[contexts, Y]``.

    The model gives its logits after every prefix, as in training; those of tokens that no completion has are left
    out, so that completions always sum to one.
    """
    spec, device = problem.spec, next(model.parameters()).device
    deepest = torch.tensor(
        list(itertools.product(range(1, spec.symbols + 1), repeat=spec.length - 1)), dtype=torch.int64, device=device
    )
    # A last token that is never scored: the log-prob path reads the positions that predict a next token.
    paths = torch.cat([deepest, deepest.new_full((len(deepest), 1), END)], dim=1)
    rows, places = _first_visits(problem)
    logits_by_context = []
    with evaluating(model):
        for context in contexts:
            prompt = paths.new_full((len(paths), 1), problem.prompt(context)[0])
            ids = torch.cat([prompt, paths], dim=1)
            logits = torch.cat([_logits(model, part) for part in ids.split(ROWS)])
            logits_by_context.append(logits[rows, places, : spec.symbols + 1].float().cpu())
    return sequence_logps(torch.stack(logits_by_context).numpy())


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    return completion_logits(model, Padded(ids, everywhere, everywhere), way="padded, own head").view(
        len(ids), ids.shape[1] - 1, -1
    )


def _first_visits(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each prefix the first of the deepest paths through it, and its number of symbols."""
    symbols, length = problem.spec.symbols, problem.spec.length
    depths = np.repeat(np.arange(length), [symbols**depth for depth in range(length)])
    within = np.concatenate([np.arange(symbols**depth) for depth in range(length)])
    return torch.from_numpy(within * symbols ** (length - 1 - depths)), torch.from_numpy(depths)


def _scores(log_policy: Array, log_ref: Array, gold: Array, *, lengths: Array, beta0: float) -> dict[str, Array]:
    reward, divergence = expected_reward(log_policy, gold), kl(log_policy, log_ref)
    return {
        "gold_reward": reward,
        "kl": divergence,
        "target": reward - beta0 * divergence,
        "length": (np.exp(log_policy) * lengths).sum(axis=-1),
    }


def _frontier_metrics(scores: Mapping[str, Array], log_ref: Array, gold: Array, *, split: str) -> tuple[Metric, ...]:
    # One KL budget for all contexts together, so there is no value for each and no standard error.
    best = float(frontier(log_ref, gold, kls=[float(scores["kl"].mean())])[0])
    gap = best - float(scores["gold_reward"].mean())
    return tuple(
        Metric(task=TASK, split=split, name=name, value=value, n=len(log_ref), higher_is_better=better)
        for name, value, better in (("optimal_reward", best, None), ("frontier_gap", gap, False))
    )


def _distances(log_policy: Array, log_ref: Array, gold: Array, *, beta0: float, beta: float | None) -> Measured:
    distances: dict[str, tuple[Array, bool | None]] = {
        "entropy": (entropy(log_policy), None),
        "win_rate": (win_rate(log_policy, log_ref, gold), True),
        "best_mass": (_mass_at(log_policy, gold.argmax(axis=-1)), True),
        "worst_mass": (_mass_at(log_policy, gold.argmin(axis=-1)), False),
    }
    if beta0 > 0:
        distance = kl(log_policy, optimal_policy(log_ref, gold, beta=beta0))
        distances |= {"regret": (beta0 * distance, False), "kl_to_optimum": (distance, False)}
    else:
        # The optimum is then on the best completions alone, and any other policy infinitely far from it.
        distances["regret"] = (gold.max(axis=-1) - expected_reward(log_policy, gold), False)
    if beta is not None and math.isfinite(beta):
        distances["implicit_reward_error"] = (implicit_reward_error(log_policy, log_ref, gold, beta=beta), False)
    return distances


def _mass_at(log_policy: Array, completion: NDArray[np.intp]) -> Array:
    return np.exp(np.take_along_axis(log_policy, completion[:, None], axis=-1))[:, 0]


def _rows(
    problem: Problem,
    contexts: Sequence[int],
    log_policy: Array,
    divergence: Array,
    *,
    tokenizer: PreTrainedTokenizerBase,
) -> list[SampleRow]:
    rows = []
    for place, context in enumerate(contexts):
        best = int(log_policy[place].argmax())
        prompt, completion = problem.prompt(context), problem.completions[best]
        rows.append(
            SampleRow(
                prompt_ids=prompt,
                completion_ids=completion,
                ended=completion[-1] == END,
                prompt=tokenizer.decode(list(prompt), skip_special_tokens=True),
                text=tokenizer.decode(list(completion), skip_special_tokens=True),
                gold=float(problem.reward[context, best]),
                kl=float(divergence[place]),
            )
        )
    return rows

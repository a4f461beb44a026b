"""Scalar twins of the list-wise losses: RRHF (2304.05302), InfoNCA and NCA (2402.05369), DPO's Plackett-Luce form."""

import math

from tests.losses.scalar.arithmetic import log_ratio, mean, sigmoid


def _rewards(completions, completions_ref, beta):
    return [beta * log_ratio(*both) for both in zip(completions, completions_ref, strict=True)]


def _softmax(values):
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


def _log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def _out_of_order(completions, scores):
    averages = [mean(logps) for logps in completions]
    ranking = 0.0
    for worse, low in zip(averages, scores, strict=True):
        for better, high in zip(averages, scores, strict=True):
            if low < high and worse > better:
                ranking += worse - better
    return ranking


def rrhf(completions, completions_ref, scores, *, lam):
    return _out_of_order(completions, scores) - lam * mean(completions[scores.index(max(scores))])


def rrhf_sum(completions, completions_ref, scores, *, lam):
    return _out_of_order(completions, scores) - lam * sum(completions[scores.index(max(scores))])


def infonca(completions, completions_ref, scores, *, beta, alpha):
    rewards = _rewards(completions, completions_ref, beta)
    labels = _softmax([score / alpha for score in scores])
    return sum(p * (_log_sum_exp(rewards) - reward) for p, reward in zip(labels, rewards, strict=True))


def nca(completions, completions_ref, scores, *, beta, alpha):
    shares = [sigmoid(reward) for reward in _rewards(completions, completions_ref, beta)]
    labels = _softmax([score / alpha for score in scores])
    return -sum(
        p * math.log(share) + math.log(1 - share) / len(scores) for p, share in zip(labels, shares, strict=True)
    )


def dpo_pl(completions, completions_ref, scores, *, beta):
    rewards = _rewards(completions, completions_ref, beta)
    remaining = [reward for _, reward in sorted(zip(scores, rewards, strict=True), reverse=True)]
    loss = 0.0
    while remaining:
        loss += _log_sum_exp(remaining) - remaining[0]
        remaining = remaining[1:]
    return loss

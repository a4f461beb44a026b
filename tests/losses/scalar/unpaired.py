"""Scalar twins of the losses on labelled completions: KTO (2402.01306), APO-zero (2408.06266), BCO (2404.04656)."""

import math

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid, sigmoid


def kto(completion, completion_ref, desirable, kl_baseline, *, beta, desirable_weight, undesirable_weight):
    z0 = max(0.0, kl_baseline)
    r = sum(policy - reference for policy, reference in zip(completion, completion_ref, strict=True))
    if desirable:
        return desirable_weight - desirable_weight / (1 + math.exp(-beta * (r - z0)))
    return undesirable_weight - undesirable_weight / (1 + math.exp(-beta * (z0 - r)))


def apo_zero_unpaired(completion, completion_ref, desirable, *, beta):
    share = sigmoid(beta * log_ratio(completion, completion_ref))
    return 1 - share if desirable else share


def bco(batch, state, *, beta):
    rewards = [beta * log_ratio(policy, reference) for policy, reference, _ in batch]
    count = state["count"] + len(batch)
    shift = (state["count"] * state["mean"] + sum(rewards)) / count
    losses = [
        minus_log_sigmoid(reward - shift if desirable else shift - reward)
        for reward, (_, _, desirable) in zip(rewards, batch, strict=True)
    ]
    return losses, {"mean": shift, "count": count}

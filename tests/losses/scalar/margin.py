"""Scalar twins of DPO with a margin or a one-sided term.

R-DPO 2403.19159, ODPO 2402.10571, DPOP 2402.13228, DPO-Shift 2502.07599, MinorDPO 2408.09834.
"""

import math

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid


def r_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, alpha):
    gap = log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(beta * gap + alpha * len(chosen) - alpha * len(rejected))


def odpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, alpha, score_gap):
    gap = log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(beta * gap - alpha * math.log(score_gap))


def dpop(chosen, chosen_ref, rejected, rejected_ref, *, beta, lam):
    gap = log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)
    fallen = sum(chosen_ref) - sum(chosen)
    if fallen > 0:
        gap -= lam * fallen
    return minus_log_sigmoid(beta * gap)


def dpo_shift(chosen, chosen_ref, rejected, rejected_ref, *, beta, lam):
    win = beta * log_ratio(chosen, chosen_ref)
    lose = beta * log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(win - lam * lose)


def minor_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    lose = log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(beta * log_ratio(chosen, chosen_ref) - (beta * lose if lose > 0 else 0))

"""Scalar twins of other links of the gap: hinge 2305.10425, RSO 2309.06657, EXO 2402.00856, DiscoPOP 2406.08414."""

import math

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid, sigmoid


def hinge(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return max(0.0, 1 - beta * (log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)))


def rso(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    wins, loses = beta * log_ratio(chosen, chosen_ref), beta * log_ratio(rejected, rejected_ref)
    return max(0.0, 1 - (wins - loses))


def exo_pair(chosen, chosen_ref, rejected, rejected_ref, *, beta, epsilon):
    margin = beta * (log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref))
    right, wrong = sigmoid(margin), sigmoid(-margin)
    return right * math.log(right / (1 - epsilon)) + wrong * math.log(wrong / epsilon)


def discopop(chosen, chosen_ref, rejected, rejected_ref, *, beta, tau):
    x = beta * (log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref))
    modulation = sigmoid(x / tau)
    return (1 - modulation) * minus_log_sigmoid(x) + modulation * math.exp(-x)


def cauchy_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    x = beta * (log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref))
    return -math.log(0.5 + math.atan(x) / math.pi)

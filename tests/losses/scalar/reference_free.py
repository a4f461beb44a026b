"""Scalar twins of the losses on the gap of averages, and of RainbowPO, which mixes a reference into the margin.

SimPO 2405.14734 (equation 6), AlphaPO 2501.03884, RePO 2503.07426, RainbowPO 2410.04203.
"""

import math

from tests.losses.scalar.arithmetic import mean, minus_log_sigmoid


def simpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, gamma_ratio):
    gamma = gamma_ratio * beta
    inside = beta / len(chosen) * sum(chosen) - beta / len(rejected) * sum(rejected) - gamma
    return math.log(1 + math.exp(-inside))


def alphapo(chosen, chosen_ref, rejected, rejected_ref, *, beta, gamma_ratio, alpha):
    def reward(logps):
        likelihood = math.exp(mean(logps))
        return math.log(likelihood) if alpha == 0 else (1 - likelihood**-alpha) / alpha

    return minus_log_sigmoid(beta * (reward(chosen) - reward(rejected)) - beta * gamma_ratio)


def repo(chosen, chosen_ref, rejected, rejected_ref, *, gamma):
    return max(0.0, gamma - (mean(chosen) - mean(rejected)))


def rainbow_po(chosen, chosen_ref, rejected, rejected_ref, *, beta, alpha, advantage):
    policy_gap = mean(chosen) - mean(rejected)
    reference_gap = mean(chosen_ref) - mean(rejected_ref)
    return minus_log_sigmoid(beta * (policy_gap - alpha * reference_gap - (1 - alpha) * advantage))

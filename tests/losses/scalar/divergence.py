"""Scalar twins of DPO with other divergences: f-DPO 2309.16240, χPO 2407.13399."""

import math

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid, sigmoid


def _linked(link, chosen, chosen_ref, rejected, rejected_ref, beta):
    win, lose = link(log_ratio(chosen, chosen_ref)), link(log_ratio(rejected, rejected_ref))
    return minus_log_sigmoid(beta * (win - lose))


def dpo_forward_kl(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return _linked(lambda z: 1 - math.exp(-z), chosen, chosen_ref, rejected, rejected_ref, beta)


def dpo_js(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return _linked(lambda z: math.log(2 * sigmoid(z)), chosen, chosen_ref, rejected, rejected_ref, beta)


def dpo_alpha(chosen, chosen_ref, rejected, rejected_ref, *, beta, alpha):
    def link(z):
        return (1 - math.exp(z) ** (alpha - 1)) / (1 - alpha)

    return _linked(link, chosen, chosen_ref, rejected, rejected_ref, beta)


def chi_po(chosen, chosen_ref, rejected, rejected_ref, *, beta, clip):
    win, lose = (log_ratio(*side) for side in ((chosen, chosen_ref), (rejected, rejected_ref)))
    inside = beta * (math.exp(win) + win - math.exp(lose) - lose)
    return minus_log_sigmoid(max(-2 * clip, min(2 * clip, inside)))

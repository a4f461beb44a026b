"""Scalar twins of the logistic losses (arXiv 2305.18290, equation 7; Mitchell 2023; 2403.00409; 2501.06645)."""

import math


def _probability_that_chosen_wins(chosen, chosen_ref, rejected, rejected_ref, beta):
    reward_chosen = beta * (sum(chosen) - sum(chosen_ref))
    reward_rejected = beta * (sum(rejected) - sum(rejected_ref))
    return math.exp(reward_chosen) / (math.exp(reward_chosen) + math.exp(reward_rejected))


def dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return -math.log(_probability_that_chosen_wins(chosen, chosen_ref, rejected, rejected_ref, beta))


def cdpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, epsilon):
    right = _probability_that_chosen_wins(chosen, chosen_ref, rejected, rejected_ref, beta)
    flipped = _probability_that_chosen_wins(rejected, rejected_ref, chosen, chosen_ref, beta)
    return -((1 - epsilon) * math.log(right) + epsilon * math.log(flipped))


def robust(chosen, chosen_ref, rejected, rejected_ref, *, beta, epsilon):
    as_labelled = dpo(chosen, chosen_ref, rejected, rejected_ref, beta=beta)
    as_flipped = dpo(rejected, rejected_ref, chosen, chosen_ref, beta=beta)
    return ((1 - epsilon) * as_labelled - epsilon * as_flipped) / (1 - 2 * epsilon)


def focal_po(chosen, chosen_ref, rejected, rejected_ref, *, beta, gamma):
    right = _probability_that_chosen_wins(chosen, chosen_ref, rejected, rejected_ref, beta)
    return right**gamma * -math.log(right)


def ln_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    def average(logps):
        return [sum(logps) / len(logps)]

    return dpo(average(chosen), average(chosen_ref), average(rejected), average(rejected_ref), beta=beta)

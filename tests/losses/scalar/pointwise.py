"""Scalar twins of the losses that classify (NCA 2402.05369, BCO 2404.04656, APO 2408.06266)."""

import math

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid, sigmoid


def nca_pair(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    win, lose = sigmoid(beta * log_ratio(chosen, chosen_ref)), sigmoid(beta * log_ratio(rejected, rejected_ref))
    return -math.log(win) - 0.5 * (math.log(1 - win) + math.log(1 - lose))


def bco_pair(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    good, bad = beta * log_ratio(chosen, chosen_ref), beta * log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(good) + minus_log_sigmoid(-bad)


def bco_pair_shift(batch, state, *, beta):
    rewards = [(beta * log_ratio(*pair[:2]), beta * log_ratio(*pair[2:])) for pair in batch]
    count = state["count"] + 2 * len(batch)
    shift = (state["count"] * state["mean"] + sum(map(sum, rewards))) / count
    losses = [minus_log_sigmoid(good - shift) + minus_log_sigmoid(shift - bad) for good, bad in rewards]
    return losses, {"mean": shift, "count": count}


def apo_zero(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    win, lose = beta * log_ratio(chosen, chosen_ref), beta * log_ratio(rejected, rejected_ref)
    return 1 - sigmoid(win) + sigmoid(lose)


def apo_down(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    win, lose = beta * log_ratio(chosen, chosen_ref), beta * log_ratio(rejected, rejected_ref)
    return sigmoid(win) + 1 - sigmoid(win - lose)

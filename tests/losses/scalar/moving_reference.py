"""Scalar twins of the losses with a moving reference: the reference log-probs given are those of the moment."""

import math


def _dpo(chosen, chosen_ref, rejected, rejected_ref, beta):
    win = sum(chosen) - sum(chosen_ref)
    lose = sum(rejected) - sum(rejected_ref)
    return math.log(1 + math.exp(beta * (lose - win)))


def sdpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return _dpo(chosen, chosen_ref, rejected, rejected_ref, beta)


def tr_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return _dpo(chosen, chosen_ref, rejected, rejected_ref, beta)


def tr_dpo_hard(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return _dpo(chosen, chosen_ref, rejected, rejected_ref, beta)


def ema_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return _dpo(chosen, chosen_ref, rejected, rejected_ref, beta)

"""Scalar twins of the squared losses: IPO (2310.12036, equation 17), SPPO (2405.00675), Cal-DPO (2412.14516)."""

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid, sigmoid


def _h(chosen, chosen_ref, rejected, rejected_ref):
    return sum(chosen) - sum(rejected) - (sum(chosen_ref) - sum(rejected_ref))


def ipo_sum(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return (_h(chosen, chosen_ref, rejected, rejected_ref) - 0.5 / beta) ** 2


def ipo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    def average(logps):
        return [sum(logps) / len(logps)]

    return ipo_sum(average(chosen), average(chosen_ref), average(rejected), average(rejected_ref), beta=beta)


def sppo_hard(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    eta = 1 / beta
    return (log_ratio(chosen, chosen_ref) - eta / 2) ** 2 + (log_ratio(rejected, rejected_ref) + eta / 2) ** 2


def sppo(chosen, chosen_ref, rejected, rejected_ref, *, beta, score_gap):
    eta, chosen_wins, rejected_wins = 1 / beta, sigmoid(score_gap), sigmoid(-score_gap)
    on_chosen = (log_ratio(chosen, chosen_ref) - eta * (chosen_wins - 0.5)) ** 2
    on_rejected = (log_ratio(rejected, rejected_ref) - eta * (rejected_wins - 0.5)) ** 2
    return (on_chosen + on_rejected) / 2


def cal_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    win, lose = log_ratio(chosen, chosen_ref), log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(win - lose) + 0.5 * ((win - 0.5 / beta) ** 2 + (lose + 0.5 / beta) ** 2)

"""Scalar twins of the token-wise forms of DPO (LD-DPO 2409.06411, SamPO 2406.10957, TDPO 2404.11999)."""

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid


def ld_dpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, alpha):
    public = min(len(chosen), len(rejected))

    def decoupled(logps):
        return sum(logp if place < public else alpha * logp for place, logp in enumerate(logps))

    win = decoupled(chosen) - decoupled(chosen_ref)
    lose = decoupled(rejected) - decoupled(rejected_ref)
    return minus_log_sigmoid(beta * (win - lose))


def sampo(chosen, chosen_ref, rejected, rejected_ref, *, beta, chosen_kept, rejected_kept):
    win = sum(chosen[place] - chosen_ref[place] for place in chosen_kept)
    lose = sum(rejected[place] - rejected_ref[place] for place in rejected_kept)
    return minus_log_sigmoid(beta * (win - lose))


def tdpo1(chosen, chosen_ref, rejected, rejected_ref, *, beta, chosen_kl, rejected_kl):
    margin = log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(beta * margin - beta * (sum(rejected_kl) - sum(chosen_kl)))


def tdpo2(chosen, chosen_ref, rejected, rejected_ref, *, beta, alpha, chosen_kl, rejected_kl):
    margin = log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)
    return minus_log_sigmoid(beta * margin - beta * alpha * (sum(rejected_kl) - sum(chosen_kl)))

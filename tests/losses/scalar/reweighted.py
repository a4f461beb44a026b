"""Scalar twins of the losses coupled over the batch (Dr. DPO 2407.07880, β-DPO 2407.08639, α-DPO 2410.10148)."""

import math

from tests.losses.scalar.arithmetic import log_ratio, mean, minus_log_sigmoid


def _gap(pair):
    chosen, chosen_ref, rejected, rejected_ref = pair
    return log_ratio(chosen, chosen_ref) - log_ratio(rejected, rejected_ref)


def dr_dpo(batch, *, beta, beta_prime):
    losses = [minus_log_sigmoid(beta * _gap(pair)) for pair in batch]
    least = min(losses)
    whole = least - beta_prime * math.log(mean(math.exp((least - loss) / beta_prime) for loss in losses))
    return [whole] * len(batch)


def beta_dpo(batch, state, *, beta, alpha, keep):
    gaps = [_gap(pair) for pair in batch]
    usual = 0.9 * state["gap_mean"] + 0.1 * mean(gaps)
    distances = [abs(gap - usual) for gap in gaps]
    farthest = sorted(distances)[max(1, math.floor(keep * len(batch) + 1e-9)) - 1]
    kept = [distance <= farthest + 1e-3 for distance in distances]
    strength = max(1e-3, beta * (1 + alpha * (mean(g for g, k in zip(gaps, kept, strict=True) if k) - usual)))
    share = len(batch) / sum(kept)
    losses = [minus_log_sigmoid(strength * g) * share if k else 0.0 for g, k in zip(gaps, kept, strict=True)]
    return losses, {"gap_mean": usual}


def alpha_dpo(batch, state, *, beta, gamma_ratio, alpha):
    averages = [[mean(logps) for logps in pair] for pair in batch]
    gaps = [win - win_ref - lose + lose_ref for win, win_ref, lose, lose_ref in averages]
    spread = math.sqrt(sum((gap - mean(gaps)) ** 2 for gap in gaps) / max(1, len(gaps) - 1))
    after = {"mean": 0.9 * state["mean"] + 0.1 * mean(gaps), "std": 0.9 * state["std"] + 0.1 * spread}
    losses = []
    for (chosen, _, rejected, _), gap in zip(batch, gaps, strict=True):
        target = gamma_ratio + alpha * (gap - after["mean"]) / after["std"]
        losses.append(minus_log_sigmoid(beta * (mean(chosen) - mean(rejected) - target)))
    return losses, after


def mallows_dpo(chosen, chosen_ref, rejected, rejected_ref, chosen_entropy, rejected_entropy, *, beta, scale):
    share = (sum(chosen_entropy) / len(chosen_entropy) + sum(rejected_entropy) / len(rejected_entropy)) / 2
    phi = -scale * math.log(share)
    gap = (sum(chosen) - sum(chosen_ref)) - (sum(rejected) - sum(rejected_ref))
    return math.log1p(math.exp(-phi * beta * gap))

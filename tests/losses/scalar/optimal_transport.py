"""Scalar twins of AOT (arXiv 2406.05882): one loss per rank of the sorted batch."""

from tests.losses.scalar.arithmetic import log_ratio, minus_log_sigmoid


def _by_rank(upper, lower, beta):
    return [minus_log_sigmoid(beta * (u - v)) for u, v in zip(sorted(upper), sorted(lower), strict=True)]


def aot(batch, *, beta):
    policy = [sum(chosen) - sum(rejected) for chosen, _, rejected, _ in batch]
    reference = [sum(chosen_ref) - sum(rejected_ref) for _, chosen_ref, _, rejected_ref in batch]
    return _by_rank(policy, reference, beta)


def aot_unpaired(batch, *, beta):
    chosen = [log_ratio(logps, reference) for logps, reference, _, _ in batch]
    rejected = [log_ratio(logps, reference) for _, _, logps, reference in batch]
    return _by_rank(chosen, rejected, beta)

"""Scalar twins of ORPO (arXiv 2403.07691, equations 4 to 7) and ASFT (2409.10571)."""

import math

from tests.losses.scalar.sft import sft


def _odds(logps):
    likelihood = math.prod(math.exp(logp) for logp in logps) ** (1 / len(logps))
    return likelihood / (1 - likelihood)


def orpo(chosen, chosen_ref, rejected, rejected_ref, *, lam):
    ratio = _odds(chosen) / _odds(rejected)
    return sft(chosen, chosen_ref, rejected, rejected_ref) + lam * math.log((1 + ratio) / ratio)


def asft(chosen, chosen_ref, rejected, rejected_ref, *, lam):
    good = _odds(chosen) / (1 + _odds(chosen))
    bad = _odds(rejected) / (1 + _odds(rejected))
    return sft(chosen, chosen_ref, rejected, rejected_ref) - lam * (math.log(good) + math.log(1 - bad))

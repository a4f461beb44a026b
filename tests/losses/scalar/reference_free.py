"""Scalar twins of SimPO (arXiv 2405.14734, equation 6), ORPO (arXiv 2403.07691, equations 4 to 7) and SFT."""

import math


def simpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, gamma_ratio):
    gamma = gamma_ratio * beta
    inside = beta / len(chosen) * sum(chosen) - beta / len(rejected) * sum(rejected) - gamma
    return math.log(1 + math.exp(-inside))


def orpo(chosen, chosen_ref, rejected, rejected_ref, *, lam):
    def odds(logps):
        likelihood = math.prod(math.exp(logp) for logp in logps) ** (1 / len(logps))
        return likelihood / (1 - likelihood)

    ratio = odds(chosen) / odds(rejected)
    return sft(chosen, chosen_ref, rejected, rejected_ref) + lam * math.log((1 + ratio) / ratio)


def sft(chosen, chosen_ref, rejected, rejected_ref):
    return -sum(chosen) / len(chosen)

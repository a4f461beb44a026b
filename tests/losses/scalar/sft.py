"""Scalar twins of the losses that imitate the chosen completion, without a reference.

SFT and unlikelihood as in 2305.18290, SimPER 2502.00883, CPO 2401.08417, SLiC-HF 2305.10425.
"""

import math

from tests.losses.scalar.arithmetic import mean, minus_log_sigmoid


def sft(chosen, chosen_ref, rejected, rejected_ref):
    return -sum(chosen) / len(chosen)


def unlikelihood(chosen, chosen_ref, rejected, rejected_ref, *, alpha):
    return -mean(chosen) - alpha * mean(math.log(1 - math.exp(logp)) for logp in rejected)


def simper(chosen, chosen_ref, rejected, rejected_ref):
    inverse_perplexity = [math.prod(map(math.exp, logps)) ** (1 / len(logps)) for logps in (chosen, rejected)]
    return inverse_perplexity[1] - inverse_perplexity[0]


def cpo(chosen, chosen_ref, rejected, rejected_ref, *, beta, lam):
    nll = -sum(chosen) / len(chosen)
    return minus_log_sigmoid(beta * sum(chosen) - beta * sum(rejected)) + lam * nll


def slic(chosen, chosen_ref, rejected, rejected_ref, *, delta, lam):
    return max(0.0, delta - sum(chosen) + sum(rejected)) - lam * sum(chosen)

"""Plain arithmetic for the scalar twins: the logistic function and minus its log, for any float."""

import math


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def minus_log_sigmoid(x):
    return math.log1p(math.exp(-x)) if x >= 0 else math.log1p(math.exp(x)) - x


def log_ratio(policy, reference):
    return math.fsum(policy) - math.fsum(reference)


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)

"""Scalar twins of IPO (arXiv 2310.12036, equation 17), on averages and on sums."""


def _h(chosen, chosen_ref, rejected, rejected_ref):
    return sum(chosen) - sum(rejected) - (sum(chosen_ref) - sum(rejected_ref))


def ipo_sum(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    return (_h(chosen, chosen_ref, rejected, rejected_ref) - 0.5 / beta) ** 2


def ipo(chosen, chosen_ref, rejected, rejected_ref, *, beta):
    def average(logps):
        return [sum(logps) / len(logps)]

    return ipo_sum(average(chosen), average(chosen_ref), average(rejected), average(rejected_ref), beta=beta)

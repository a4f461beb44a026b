"""Objectives without a known closed form, each with the reason."""

from collections.abc import Mapping
from types import MappingProxyType

LINEAR = "the risk is linear in σ of each log-ratio, so that no finite policy is best"
LOSERS = "completions that win less than half of their pairs are driven to probability 0"
SHIFT = (
    "its running mean δ is one number for all contexts, while the sum of probabilities asks for one in each; the "
    "log-ratios that it settles at depend on all contexts at once"
)
RANKS = "sorting over the batch joins pairs of all contexts; the ranks of the optimum depend on the optimum"
MOVES = "the reference follows the policy: both stay only where every completion wins half of its pairs"
UNKNOWN: Mapping[str, str] = MappingProxyType(
    {
        "aot": RANKS,
        "aot_unpaired": RANKS,
        "apo_down": "gap and chosen log-ratio pull against each other through the sum of probabilities; already with "
        "two completions the equation mixes σ(β Δw), σ(β Δ) and π",
        "apo_zero": f"{LINEAR}: {LOSERS}",
        "apo_zero_unpaired": f"{LINEAR}: {LOSERS}",
        "bco": SHIFT,
        "bco_pair_shift": SHIFT,
        "cal_dpo": "gap and log-ratios have targets that do not agree once probabilities sum to 1, and the gap keeps "
        "the risk from falling into a sum over completions",
        "discopop": "the best gap of a pair solves an equation that mixes e^-x, log σ(x) and σ(x/τ)",
        "kto": f"{LINEAR}: completions that win less often than the weights ask are driven to probability 0; z moves "
        "with the policy besides",
        "minor_dpo": "the rejected log-ratio counts on one side of 0 only, so that the sum of probabilities enters the "
        "equation of every pair",
        "simper": f"the risk is linear in e^s̄ of each completion: {LOSERS}",
        "tr_dpo_hard": MOVES,
    }
)

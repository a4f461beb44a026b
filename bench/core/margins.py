"""Margins of suites: the difference of the target below which two objectives count as equal.

A margin is a reading aid and no part of a run: it is fixed before a comparison, in the target's unit, and ``--margin``
sets another one.
"""

MARGINS = {
    # a twentieth of what the best objectives gain over the start model (1.57 J), and 1 nat of KL at β₀ = 0.1
    "sentiment": 0.1,
    # a twentieth of what the best objectives gain over the start model (0.92 J)
    "exact": 0.05,
}
DEFAULT_REWARD_MARGIN = 0.1
DEFAULT_RATE_MARGIN = 3.0
"""Points, for a target that is a win rate: the rerun noise of published AlpacaEval tables is about 1 to 1.5 points."""


def margin_of(suite: str, *, target: str) -> float:
    """Return the margin of a suite's reward; of a win rate, and of another suite, that of the kind of target.

    ``target``: ``reward`` or ``win_rate``. Suite ``chat`` has either, by its judge.
    """
    return DEFAULT_RATE_MARGIN if target == "win_rate" else MARGINS.get(suite, DEFAULT_REWARD_MARGIN)

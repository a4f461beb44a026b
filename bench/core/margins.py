"""Margins of suites: the difference of the target below which two objectives count as equal.

A margin is a reading aid and no part of a run: it is fixed before a comparison, in the target's unit, and ``--margin``
sets another one.
"""

MARGINS = {
    # two trainings of one objective with other seeds differ by 0.17 J (√2 · 0.12, the median of twelve): who trains
    # once cannot notice less. It is an eighth of what the best objectives gain over the start model.
    "sentiment": 0.2,
    # likewise: √2 · 0.031, the median of 61, and a twentieth of what the best gain
    "exact": 0.05,
    # likewise: √2 · 0.18 J, the median of five on SmolLM2-135M-Instruct and HH-RLHF
    "chat": 0.25,
}
DEFAULT_REWARD_MARGIN = 0.1
DEFAULT_RATE_MARGIN = 3.0
"""Points, for a target that is a win rate: published tables' rerun noise is 1 to 1.5 points for each of two models."""


def margin_of(suite: str, *, target: str) -> float:
    """Return the margin of a suite's reward; of a win rate, and of another suite, that of the kind of target.

    ``target``: ``reward`` or ``win_rate``. Suite ``chat`` has either, by its judge.
    """
    return DEFAULT_RATE_MARGIN if target == "win_rate" else MARGINS.get(suite, DEFAULT_REWARD_MARGIN)

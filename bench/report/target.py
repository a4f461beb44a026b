"""Owns what people are told of the number that chooses and ranks: J, or a judge's win rate over the start model."""

from bench.report.settings import Group


def is_rate(group: Group) -> bool:
    """Whether the target is a win rate, in percent."""
    return group.target == "win_rate"


def target_label(group: Group) -> str:
    """The target as a column or an axis is headed."""
    return "LC wins [%]" if is_rate(group) else "target J"


def target_short(group: Group) -> str:
    """The target in a word, for a heading that says more."""
    return "wins" if is_rate(group) else "J"


def target_formula(group: Group) -> str:
    """The target in a line of plain text."""
    if is_rate(group):
        return f"length-controlled wins over the start model, %, by {_judge(group)}"
    return f"{reward_label(group)} − {group.beta0:g} · KL"


def target_meaning(group: Group) -> str:
    """The target in a sentence's part, for Markdown."""
    if is_rate(group):
        return (
            f"the length-controlled win rate over the start model's answers in percent, by judge {_judge(group)} (a "
            "prompt's value is that rate and the prompt's influence on it)"
        )
    return f"`J = E[{reward_label(group)}] − β₀ · KL`, with β₀ = {group.beta0:g}"


def reward_label(group: Group) -> str:
    """What the gold reward is, as a column or an axis is headed."""
    return f"reward by {_judge(group)}" if group.judges else "gold reward"


def _judge(group: Group) -> str:
    return group.judges[0] if group.judges else "the gold reward"

"""Words and formulas of tables: the target (J, or a win rate over the start model), terms, numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.analysis.settings import Group, Setting
from bench.stats.intervals import Interval
from bench.stats.paired import PairedTest


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


def terms(tuning: Mapping[str, Any]) -> list[str]:
    """Return the terms of a protocol in words, «preset quick», «axes beta», …; what it does not hold is left out."""
    found = {name: tuning.get(name) for name in ("preset", "axes", "trials", "steps", "pairs")}
    said = [
        f"preset {found['preset']}" if found["preset"] else None,
        f"axes {', '.join(found['axes']) or 'none'}" if found["axes"] is not None else None,
        _counted(found["trials"], "trial", f" of each objective ({tuning.get('sampler', 'sampler unknown')})"),
        _seeds(tuning.get("seeds"), "choose"),
        _seeds(tuning.get("final_seeds"), "report"),
        _counted(found["steps"], "step", ""),
        _counted(found["pairs"], "pair", ""),
    ]
    return [text for text in said if text is not None]


def terms_text(tuning: Mapping[str, Any]) -> str:
    """Return the terms of a protocol in one line."""
    return " · ".join(terms(tuning)) or "terms unknown"


def _seeds(seeds: Sequence[int] | None, purpose: str) -> str | None:
    return None if seeds is None else _counted(len(seeds), "seed", f" to {purpose}")


def _counted(count: int | None, noun: str, after: str) -> str | None:
    return None if count is None else f"{count:,} {noun}{'' if count == 1 else 's'}{after}"


NOTHING = "–"


def setting_text(setting: Setting, group: Group, *, brief: bool = False) -> str:
    """Return what tells a setting from the others: its parameters, and the training fields that differ.

    ``brief`` leaves out the parameters that are the same in all settings of the objective, if any differs.
    """
    others = [other for other in group.settings if other.objective == setting.objective]
    varying = {name for name, _ in setting.params if len({other.param(name) for other in others}) > 1}
    shown = varying if brief and varying else {name for name, _ in setting.params}
    parts = [f"{name}={value:g}" for name, value in setting.params if name in shown]
    parts += [f"lr={setting.learning_rate:g}"] if group.several_rates else []
    parts += [f"{name}={dict(setting.train).get(name)}" for name in group.differing]
    return " ".join(parts) or "defaults"


def number(found: Interval, *, places: int = 3, spread: bool = True) -> str:
    """Return «0.312 ± 0.020», with * where the interval knows one seed only, and a dash where nothing was measured."""
    if math.isnan(found.mean):
        return NOTHING
    text = f"{found.mean:z.{places}f}".replace("-", "−")
    if not spread or math.isnan(found.half):
        return text
    return f"{text} ± {found.half:.{places}f}{'*' if found.source == 'prompts' else ''}"


def letters_text(letters: str) -> str:
    """Return the letters of ties, of more than eight the first five and their number: the CSV has them all."""
    return letters if len(letters) <= 8 else f"{letters[:5]}… ({len(letters)})"


def p_text(test: PairedTest) -> str:
    """Return «0.034», «< 0.001», with * where one seed was compared, or a dash where there was no test."""
    if math.isnan(test.p):
        return NOTHING
    star = "*" if test.difference.source == "prompts" else ""
    return f"< 0.001{star}" if test.p < 0.001 else f"{test.p:.3f}{star}"


def percent(share: Interval) -> Interval:
    """Return a share as per cent."""
    return Interval(100 * share.mean, 100 * share.low, 100 * share.high, share.source, share.n)


def troubles(setting: Setting) -> str:
    """Return how many of a setting's runs did not complete, «1 of 3 diverged», nothing where all did."""
    runs = {record.key: record.status for record in (*setting.validation, *setting.test)}
    bad = {status: sum(s == status for s in runs.values()) for status in sorted(set(runs.values()) - {"completed"})}
    return ", ".join(f"{count} of {len(runs)} {status}" for status, count in bad.items())

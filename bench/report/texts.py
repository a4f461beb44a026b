"""Owns how one setting and one number are told to people, the same in every table."""

import math

from bench.report.settings import Group, Setting
from bench.stats.intervals import Interval
from bench.stats.paired import PairedTest

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

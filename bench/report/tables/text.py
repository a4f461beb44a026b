"""Wording of tables and figures: names of the target and the reward, terms, settings and numbers."""

import math
from collections.abc import Mapping

from bench.core.record import GOLD_REWARD, REWARD
from bench.report.analysis.settings import Group, Setting
from bench.stats.intervals import Interval

NOTHING = "–"
"""The text where nothing was measured."""
SHORT_JUDGE = 12
"""Characters of a judge's name in a narrow column."""
SHORT = 8
"""Characters of a run's key in tables for people; commands take a key by its beginning."""


def is_rate(group: Group) -> bool:
    """Return whether the target is a win rate, in percent."""
    return group.target == "win_rate"


def target_label(group: Group) -> str:
    """Return the heading of the target, for a column or an axis."""
    return "LC wins [%]" if is_rate(group) else "target J"


def target_short(group: Group) -> str:
    """Return the target in a word, for a longer heading."""
    return "wins" if is_rate(group) else "J"


def target_formula(group: Group) -> str:
    """Return the target as a formula in plain text."""
    if is_rate(group):
        return f"length-controlled wins over the start model, %, by {_judge(group)}"
    return f"{reward_label(group)} − {group.beta0:g} · KL"


def target_meaning(group: Group) -> str:
    """Return the target as part of a sentence, in Markdown."""
    if is_rate(group):
        return (
            f"the length-controlled win rate over the start model's answers in percent, by judge {_judge(group)} (a "
            "prompt's value is that rate and the prompt's influence on it)"
        )
    return f"`J = E[{reward_label(group)}] − β₀ · KL`, with β₀ = {group.beta0:g}"


def reward_label(group: Group) -> str:
    """Return the heading of the reward, for a column or an axis."""
    return f"reward by {_judge(group)}" if group.judges else "gold reward"


def reward_brief(group: Group) -> str:
    """Return the same for a narrow column: a long name of a judge is cut, since all of it stands above the table."""
    if not group.judges or len(group.judges[0]) <= SHORT_JUDGE:
        return reward_label(group)
    return f"reward by {group.judges[0][: SHORT_JUDGE - 1]}…"


def reward_key(group: Group) -> str:
    """Return the column of the reward in files: ``gold_reward`` where it is the suite's, ``reward`` where a judge's."""
    return REWARD if group.judges else GOLD_REWARD


def _judge(group: Group) -> str:
    return group.judges[0] if group.judges else "the gold reward"


def terms(tuning: Mapping[str, object]) -> list[str]:
    """Return the terms of a protocol in words, «preset quick», «axes beta», …, as far as it has them."""
    axes = tuning.get("axes")
    texts = [
        f"preset {tuning['preset']}" if tuning.get("preset") else None,
        f"axes {', '.join(map(str, axes)) or 'none'}" if isinstance(axes, list | tuple) else None,
        _counted(tuning.get("trials"), "trial", f" of each objective ({tuning.get('sampler', 'sampler unknown')})"),
        _seeds(tuning.get("seeds"), "choose"),
        _seeds(tuning.get("final_seeds"), "report"),
        _counted(tuning.get("steps"), "step", ""),
        _counted(tuning.get("pairs"), "pair", ""),
    ]
    return [text for text in texts if text is not None]


def terms_text(tuning: Mapping[str, object]) -> str:
    """Return the terms of a protocol in one line."""
    return " · ".join(terms(tuning)) or "terms unknown"


def _seeds(seeds: object, purpose: str) -> str | None:
    return _counted(len(seeds), "seed", f" to {purpose}") if isinstance(seeds, list | tuple) else None


def _counted(count: object, noun: str, after: str) -> str | None:
    return f"{count:,} {noun}{'' if count == 1 else 's'}{after}" if isinstance(count, int) else None


def setting_text(setting: Setting, group: Group, *, brief: bool = False) -> str:
    """Return what tells a setting from the others: its parameters, and the training fields that differ.

    ``brief`` leaves out the parameters that are the same in all settings of the objective, if any differs.
    """
    others = group.by_objective[setting.objective]
    varying = {name for name, _ in setting.params if len({other.param(name) for other in others}) > 1}
    names = varying if brief and varying else {name for name, _ in setting.params}
    parts = [f"{name}={value:g}" for name, value in setting.params if name in names]
    parts += [f"lr={setting.learning_rate:g}"] if group.several_rates else []
    parts += [f"{name}={dict(setting.train).get(name)}" for name in group.differing]
    return " ".join(parts) or "defaults"


def number(value: Interval, *, places: int = 3, spread: bool = True) -> str:
    """Return «0.312 ± 0.020», with * where the interval knows one seed only, and a dash where nothing was measured."""
    if math.isnan(value.mean):
        return NOTHING
    text = f"{value.mean:z.{places}f}".replace("-", "−")
    if not spread or math.isnan(value.half):
        return text
    return f"{text} ± {value.half:.{places}f}{'*' if value.source == 'prompts' else ''}"


def bounds_text(value: Interval, *, places: int = 3) -> str:
    """Return «−0.214 [−0.420, −0.008]», for an interval whose ends need not be as far from the mean as each other."""
    text = number(value, places=places, spread=False)
    if math.isnan(value.half):
        return text
    low, high = (f"{end:z.{places}f}".replace("-", "−") for end in (value.low, value.high))
    return f"{text} [{low}, {high}]{'*' if value.source == 'prompts' else ''}"


def p_text(p: float, difference: Interval) -> str:
    """Return «0.034», «< 0.001», with * where one seed was compared, or a dash where there was no test."""
    if math.isnan(p):
        return NOTHING
    star = "*" if difference.source == "prompts" else ""
    return f"< 0.001{star}" if p < 0.001 else f"{p:.3f}{star}"


def run_keys(setting: Setting) -> list[str]:
    """Return the keys of a setting's runs, the completed ones on test prompts first, each once."""
    completed = [record for record in setting.test if record.status == "completed"]
    return list(dict.fromkeys(record.key for record in (*completed, *setting.test, *setting.validation)))


def short_keys(setting: Setting) -> str:
    """Return the first run's key, cut to eight characters, and how many more runs there are, «3f9c12ab +4»."""
    keys = run_keys(setting)
    more = f"\N{NO-BREAK SPACE}+{len(keys) - 1}" if len(keys) > 1 else ""
    return f"{keys[0][:SHORT]}{more}" if keys else NOTHING


def troubles(setting: Setting) -> str:
    """Return how many of a setting's runs did not complete, «1 of 3 diverged», nothing where all did."""
    runs = {record.key: record.status for record in setting.every_record}
    bad = {status: sum(s == status for s in runs.values()) for status in sorted(set(runs.values()) - {"completed"})}
    return ", ".join(f"{count} of {len(runs)} {status}" for status, count in bad.items())

"""Warnings of a comparison: what its numbers cannot carry, or what another search would have to look at."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.comparison import Comparison
from bench.report.analysis.settings import Group, Setting
from bench.report.analysis.verdict import UNMOVED, Verdict, amount, listed, rounded

FEWEST = 3
"""Values that an objective must have tried of a parameter before its ends count as edges."""
MOST = 4
"""Edges that are named one by one."""
RATE = "learning_rate"
STEP = 10**0.5
"""The largest step of a wider range, as a ratio."""
NAMES = {RATE: "lr"}
"""What ``--sweep`` calls a parameter, where it is not the record's name."""

Edge = tuple[str, str, tuple[float, ...]]
"""Parameter, «highest» or «lowest», and the values tried of it, rising."""


def warnings_of(comparison: Comparison) -> list[str]:
    """Return the warnings that hold, a sentence each, the gravest first; equal for equal numbers."""
    group, verdict = comparison.group, comparison.verdict
    contradictions = [one for one in judges_agree(group) if one.tau < 0]
    return [
        *_unmoved(verdict),
        *_few_seeds(verdict, rate=group.target == "win_rate"),
        *edges(comparison),
        *(f"Judges contradict each other: {agreement_text(one)}." for one in contradictions),
    ]


def edges(comparison: Comparison) -> list[str]:
    """Return a sentence for each parameter whose best value is the highest or the lowest that was tried of it.

    Objectives that tried the same values stand together, and the sentence has the ``--sweep`` that goes on there.
    """
    group = comparison.group
    named: dict[Edge, list[str]] = defaultdict(list)
    for name in comparison.results:
        best = group.best(name)
        for edge in _edges(group, best) if best is not None else ():
            named[edge].append(name)
    ordered = sorted(named.items(), key=lambda item: -len(item[1]))
    sentences = [_edge_text(edge, names, group) for edge, names in ordered[:MOST]]
    left = [f"{name} ({parameter})" for (parameter, _, _), names in ordered[MOST:] for name in names]
    return [*sentences, *([f"Best at an edge as well: {listed(left)}."] if left else [])]


def _unmoved(verdict: Verdict) -> list[str]:
    if not verdict.unmoved:
        return []
    return [
        f"The policy hardly moved: {verdict.first}, the first, is less than {UNMOVED:g} nats from the start model and "
        "not shown to be better. More steps or a higher learning rate would move it."
    ]


def _few_seeds(verdict: Verdict, *, rate: bool) -> list[str]:
    if verdict.first is None:
        return []
    if verdict.seeds == 1:
        return ["One seed only: intervals and p (with *) are of its prompts, and say nothing of another seed."]
    if not verdict.undecided or not verdict.detectable > verdict.margin:
        return []
    seeds = math.ceil(verdict.seeds * (verdict.detectable / verdict.margin) ** 2)
    seen = amount(verdict.detectable, margin=verdict.margin)
    return [
        f"Few seeds: with {verdict.seeds}, differences of {seen} could be seen; to see the margin, {verdict.margin:g}"
        f"{' points' if rate else ''}, takes about {rounded(seeds):,}."
    ]


def _edges(group: Group, best: Setting) -> list[Edge]:
    settings = group.by_objective[best.objective]
    made: list[Edge] = []
    for parameter in [*(name for name, _ in best.params), RATE]:
        tried = tuple(sorted({_value(setting, parameter) for setting in settings}))
        if len(tried) >= FEWEST and _value(best, parameter) in (tried[0], tried[-1]):
            made.append((parameter, "highest" if _value(best, parameter) == tried[-1] else "lowest", tried))
    return made


def _value(setting: Setting, parameter: str) -> float:
    value = setting.learning_rate if parameter == RATE else setting.param(parameter)
    return math.nan if value is None else value


def _edge_text(edge: Edge, names: Sequence[str], group: Group) -> str:
    parameter, end, tried = edge
    name = NAMES.get(parameter, parameter)
    at = f"{name}={tried[-1] if end == 'highest' else tried[0]:g}"
    verb = "is" if len(names) == 1 else "are"
    text = f"{listed(names)} {verb} best at the {end} value tried ({at})"
    wider = ",".join(f"{value:g}" for value in widened(tried, end))
    which = f"--loss {names[0]} " if len(names) == 1 else ""
    return f"{text}: {which}--sweep {name}={wider} looks further, as far as the loss allows it."


def widened(tried: Sequence[float], end: str) -> list[float]:
    """Return the value at the end, and two more: in the grid's steps, or by its ratio (to half a decade) if above 0."""
    values = sorted(tried, reverse=end == "lowest")
    last, before = values[-1], values[-2]
    if min(tried) > 0:
        ratio = min(max(last / before, 1 / STEP), STEP)
        made = itertools.accumulate([ratio] * 2, lambda value, by: value * by, initial=last)
    else:
        made = itertools.accumulate([last - before] * 2, initial=last)
    return [float(f"{value:.3g}") for value in made]

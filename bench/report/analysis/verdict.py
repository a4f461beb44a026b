"""Verdict of a comparison in one sentence: who is first, what is equal, worse or undecided, what it takes to know."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.stats.verdicts import PairVerdict, Verdicts, Word

NAMED = 5
"""Objectives of a group that a sentence names; of more, these and how many others."""
UNMOVED = 0.05
"""Nats: a policy whose samples are nearer than this to the start model hardly moved."""


@dataclass(frozen=True)
class Standing:
    """One objective as the sentence needs it; ``to_start`` is None where the start model has no comparable score.

    ``kl``: nats from the start model. ``seconds``: of training and evaluation, for one seed.
    """

    objective: str
    mean: float
    seeds: int
    to_first: PairVerdict
    to_start: PairVerdict | None
    kl: float
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """What a table says. ``text`` is the same for equal numbers; ``cost_text`` has seconds, which vary by machine.

    ``first``: the highest mean, None without a test score. ``is_best``: it is better than the start model, and each
    other objective is worse than it or equal to it within ``margin``. ``beats_start``: those shown to be better than
    the start model. ``detectable``: the difference that could have been seen, NaN for none. ``more_seeds``: about so
    many more would decide half of the undecided, None where that is not known.
    """

    first: str | None
    is_best: bool
    equal: tuple[str, ...]
    worse: tuple[str, ...]
    undecided: tuple[str, ...]
    to_start: Word | None
    beats_start: tuple[str, ...]
    unmoved: bool
    margin: float
    seeds: int
    detectable: float
    more_seeds: int | None
    text: str
    cost_text: str

    @property
    def full_text(self) -> str:
        """The sentence with what a seed costs."""
        return f"{self.text} {self.cost_text}".rstrip()


def verdict_of(standings: Sequence[Standing], verdicts: Verdicts, *, rate: bool) -> Verdict:
    """Return the verdict on ``standings``, the tested objectives, best first; ``rate``: the target is in points."""
    others = standings[1:]
    undecided = [one for one in others if one.to_first.word == "undecided"]
    start = standings[0].to_start if standings else None
    beats = tuple(one.objective for one in standings if one.to_start is not None and one.to_start.word == "better")
    needed = [count for one in undecided if (count := more_seeds(one.to_first, margin=verdicts.margin)) is not None]
    more = round(median(needed)) if needed else None
    first_beats = bool(standings) and standings[0].objective in beats
    words = _Words(standings, verdicts.margin, rate, first_beats and not undecided, beats, more)
    detectable = verdicts.detectable if others else start.detectable if start is not None else math.nan
    return Verdict(
        first=standings[0].objective if standings else None,
        is_best=words.best,
        equal=_named(others, "equal"),
        worse=_named(others, "worse"),
        undecided=_named(others, "undecided"),
        to_start=None if start is None else start.word,
        beats_start=beats,
        unmoved=bool(standings) and standings[0].kl < UNMOVED and not first_beats,
        margin=verdicts.margin,
        seeds=max((one.seeds for one in standings), default=0),
        detectable=detectable,
        more_seeds=more,
        text=" ".join(filter(None, (words.sentence(), words.seen(detectable)))),
        cost_text=_cost(undecided) if more is not None else "",
    )


def more_seeds(verdict: PairVerdict, *, margin: float) -> int | None:
    """Return about how many more seeds would decide a pair, if its difference is as estimated; None for one seed.

    Half-widths fall with the root of the seeds. What must be seen is the difference itself, or how far it is within
    the margin, whichever is larger. What prompts add does not fall with seeds: where they are few, it is more.
    """
    gap = abs(verdict.difference.mean)
    needed = max(gap, margin - gap)
    if not math.isfinite(verdict.detectable) or verdict.difference.n < 2:
        return None
    return max(1, math.ceil(verdict.difference.n * ((verdict.detectable / needed) ** 2 - 1)))


def listed(names: Sequence[str], *, most: int = NAMED) -> str:
    """Return «a», «a and b», «a, b and c», and of more than ``most`` the first ones «and 7 others»."""
    kept = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]
    return kept[0] if len(kept) == 1 else f"{', '.join(kept[:-1])} and {kept[-1]}"


def amount(value: float, *, margin: float, rate: bool = False) -> str:
    """Return a difference as text: two digits of the margin, and its unit."""
    places = min(6, max(1, math.ceil(-math.log10(margin)) + 1))
    return f"{value:.{places}f}{' points' if rate else ''}"


def rounded(count: int) -> int:
    """Return a count with two digits: an estimate has no more."""
    return count if count < 100 else int(float(f"{count:.1e}"))


def duration(seconds: float) -> str:
    """Return «20 seconds», «3 minutes», «1.5 hours»."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * size:
            count = seconds / size
            text = f"{count:.1f}" if count < 3 and unit == "hour" else f"{count:.0f}"
            return f"{text} {unit}s"
    return f"{seconds:.0f} seconds" if seconds >= 1.5 else "a second"


@dataclass(frozen=True)
class _Words:
    """Parts of the sentence."""

    standings: Sequence[Standing]
    margin: float
    rate: bool
    best: bool
    beats: tuple[str, ...]
    more: int | None

    def sentence(self) -> str:
        if not self.standings:
            return "No objective has a test score yet, so none is first."
        first, others = self.standings[0], self.standings[1:]
        parts = [self._head()]
        name = "it" if first.objective in self.beats else first.objective
        if equal := _named(others, "equal"):
            verb = "is" if len(equal) == 1 else "are"
            parts.append(f"{listed(equal)} {verb} equal to {name} within {self._margin}")
        if worse := [one for one in others if one.to_first.word == "worse"]:
            verb = "is" if len(worse) == 1 else "are"
            than = "" if name == "it" else f" than {name}"
            parts.append(f"{listed([one.objective for one in worse])} {verb} worse{than} by {self._gaps(worse)}")
        if undecided := _named(others, "undecided"):
            parts.append(self._undecided(undecided, all_others=len(undecided) == len(others)))
        return "; ".join(parts) + "."

    def seen(self, detectable: float) -> str:
        if math.isnan(detectable):
            return ""
        return f"Differences of {self._amount(detectable)} or more could be seen."

    @property
    def _margin(self) -> str:
        return f"{self.margin:g}{' points' if self.rate else ''}"

    def _head(self) -> str:
        first = self.standings[0]
        name, start = first.objective, first.to_start
        if start is None:
            return f"{self._place()}; whether it is better than the start model is not known, which has no such score"
        from_start = start.difference
        if name in self.beats:
            return f"{self._place()}, better than the start model by {self._interval(from_start.mean, start)}"
        if math.isnan(start.detectable) and from_start.mean <= 0:
            return f"No objective's mean exceeds the start model's: that of {name}, the highest, is {self._from(start)}"
        if first.seeds == 1:
            return f"{name} has the highest mean, {self._from(start)}; another seed may change that"
        if self.beats:
            verb = "is" if len(self.beats) == 1 else "are"
            head = f"{name} has the highest mean, but is not shown to beat the start model ({self._from(start)})"
            return f"{head}, as {listed(self.beats)} {verb}"
        equal = f", equal to it within {self._margin}" if start.word == "equal" else ""
        return f"No objective is shown to beat the start model: {name} has the highest mean, {self._from(start)}{equal}"

    def _place(self) -> str:
        name = self.standings[0].objective
        if len(self.standings) == 1:
            return f"{name} is the only objective with a test score"
        return f"{name} is best" if self.best else f"{name} has the highest mean"

    def _undecided(self, names: tuple[str, ...], *, all_others: bool) -> str:
        verb = "is" if len(names) == 1 else "are"
        text = f"{listed(names)} {verb} undecided"
        if all(one.seeds == 1 for one in self.standings):
            return f"{text}: one seed decides nothing, two seeds or more can (--seeds)"
        if self.more is None:
            return text
        which = "it" if len(names) == 1 else "half of them"
        return f"{text}: about {rounded(self.more):,} more seeds would decide {which}"

    def _gaps(self, worse: Sequence[Standing]) -> str:
        gaps = [-one.to_first.difference.mean for one in worse]
        if len(worse) == 1:
            return self._interval(gaps[0], worse[0].to_first)
        return f"{amount(min(gaps), margin=self.margin)} to {self._amount(max(gaps))}"

    def _interval(self, mean: float, verdict: PairVerdict) -> str:
        """Return «0.20 ± 0.10», or «0.20 (0.00 to 0.49)» where a word says more than the interval did."""
        gap = verdict.difference
        if math.isnan(gap.half):
            return self._amount(mean)
        left, right = gap.mean - gap.low, gap.high - gap.mean
        if math.isclose(left, right, rel_tol=1e-6):
            half = amount(gap.half, margin=self.margin)
            return f"{amount(mean, margin=self.margin)} ± {half}{' points' if self.rate else ''}"
        ends = sorted(abs(end) for end in (gap.low, gap.high))
        low, high = (amount(end, margin=self.margin) for end in ends)
        return f"{self._amount(mean)} ({low} to {high})"

    def _from(self, start: PairVerdict) -> str:
        gap = start.difference
        side = "above" if gap.mean > 0 else "below"
        half = "" if math.isnan(gap.half) else f" ± {amount(gap.half, margin=self.margin)}"
        unit = " points" if self.rate else ""
        return f"{amount(abs(gap.mean), margin=self.margin)}{half}{unit} {side} the start model's"

    def _amount(self, value: float) -> str:
        return amount(value, margin=self.margin, rate=self.rate)


def _named(standings: Sequence[Standing], word: Word) -> tuple[str, ...]:
    return tuple(one.objective for one in standings if one.to_first.word == word)


def _cost(undecided: Sequence[Standing]) -> str:
    return f"A seed takes {duration(median(one.seconds for one in undecided))}."

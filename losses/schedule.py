"""What changes over a run: values of the step, when the reference follows the policy."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from losses.param import suggest

Kind = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class ValueSchedule:
    """A value that goes from ``start`` at the first step to ``end`` at the last; ``str`` gives its text form.

    Raises:
        ValueError: when an end is not finite, or a constant has two different ends.
    """

    kind: Kind
    start: float | int
    end: float | int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"schedule {self.kind}: ends must be finite, got {self.start!r} and {self.end!r}")
        if self.kind == "constant" and self.start != self.end:
            raise ValueError(f"a constant schedule has one value, got {self.start!r} and {self.end!r}")

    def at(self, step: int, steps: int) -> float | int:
        """Return the value at optimiser step ``step`` (1-based) of ``steps``.

        Raises:
            ValueError: when the step is not one of the run's.
        """
        _check_step(step, steps)
        share = (step - 1) / (steps - 1) if steps > 1 else 0.0
        if self.kind == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share if share < 1 else self.end

    def __str__(self) -> str:
        ends = repr(self.start) if self.kind == "constant" else f"{self.start!r}, {self.end!r}"
        return f"{self.kind}({ends})"


def parse_schedule(text: str) -> ValueSchedule:
    """Read ``"constant(0.1)"``, ``"linear(0.1, 0.01)"``, ``"cosine(0.1, 0.01)"`` or a plain number (a constant).

    Raises:
        ValueError: when the text has none of these forms.
    """
    forms = "it must be a number, constant(a), linear(a, b) or cosine(a, b), as in 'linear(0.1, 0.01)'"
    match = re.fullmatch(r"\s*(?:([A-Za-z_]+)\s*\(([^()]*)\)|([^()]+?))\s*", text)
    if match is None:
        raise ValueError(f"cannot read schedule {text!r}; {forms}")
    name, inside, number = match.groups()
    kind_name = name if number is None else "constant"
    kind = next((kind for kind in get_args(Kind) if kind == kind_name), None)
    if kind is None:
        raise ValueError(
            f"cannot read schedule {text!r}: unknown kind {kind_name!r}; {suggest(kind_name, get_args(Kind))}{forms}"
        )
    try:
        values = [float(part) for part in (inside if number is None else number).split(",")]
    except ValueError as error:
        raise ValueError(f"cannot read schedule {text!r}: {error}; {forms}") from error
    wanted = 1 if kind == "constant" else 2
    if len(values) != wanted:
        raise ValueError(f"cannot read schedule {text!r}: {kind} takes {wanted} value(s), got {len(values)}; {forms}")
    return ValueSchedule(kind, values[0], values[-1])


@dataclass(frozen=True)
class ReferenceSchedule:
    """When the reference follows the policy: reference <- a(t)·policy + (1 - a(t))·reference after step t.

    Fields:
        weight: a at an update, 0 to 1; 0 keeps the reference frozen.
        every: optimiser steps between updates; None for no periodic update.
        stages: parts of the data, with an update between them.
        restart: whether optimiser and learning-rate schedule start afresh with each stage.
        shares: rows of each stage, which gets steps in proportion; empty: all stages are alike.

    Raises:
        ValueError: when a field is out of range, or the fields name two schedules at once or half of one.
    """

    weight: float | int = 0.0
    every: int | None = None
    stages: int = 1
    restart: bool = False
    shares: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"reference schedule: weight must be 0 to 1, got {self.weight!r}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"reference schedule: every must be 1 step or more, got {self.every!r}")
        if self.stages < 1:
            raise ValueError(f"reference schedule: stages must be 1 or more, got {self.stages!r}")
        if self.every is not None and self.stages > 1:
            raise ValueError("reference schedule: every and stages exclude each other; set one of them")
        if self.weight > 0 and self.every is None and self.stages == 1:
            raise ValueError(f"reference schedule: weight {self.weight!r} needs every or stages to say when")
        if self.restart and self.stages == 1:
            raise ValueError("reference schedule: restart needs 2 or more stages")
        if self.shares and (len(self.shares) != self.stages or min(self.shares) < 1):
            raise ValueError(f"reference schedule: {self.stages} stages need a share of 1 or more each: {self.shares}")

    @property
    def is_frozen(self) -> bool:
        """Whether the reference never changes, so that its log-probs can be computed once."""
        return self.weight == 0

    def weight_after(self, step: int, steps: int) -> float | int:
        """Return a(t), 0 to 1, to apply once optimiser step ``step`` (1-based) of ``steps`` is finished.

        Raises:
            ValueError: when the step is not one of the run's, or there are fewer steps than stages.
        """
        _check_step(step, steps)
        due = step in self.boundaries(steps) or (self.every is not None and step % self.every == 0)
        return self.weight if due else 0.0

    def boundaries(self, steps: int) -> tuple[int, ...]:
        """Return the last step of each stage but the last one: round(steps·k/stages), k = 1 … stages - 1.

        With ``shares`` k/stages is the share of the rows up to there, and each stage has one step or more.

        Raises:
            ValueError: when there are fewer steps than stages.
        """
        if steps < self.stages:
            raise ValueError(f"{self.stages} stages need {self.stages} optimiser steps or more, got {steps}")
        if not self.shares:
            return tuple(round(steps * k / self.stages) for k in range(1, self.stages))
        boundaries, before, whole = [], 0, sum(self.shares)
        for k in range(1, self.stages):
            due = round(steps * sum(self.shares[:k]) / whole)
            before = min(max(due, before + 1), steps - (self.stages - k))
            boundaries.append(before)
        return tuple(boundaries)

    def stage_of(self, step: int, steps: int) -> int:
        """Return which stage, 0 … stages - 1, optimiser step ``step`` (1-based) of ``steps`` belongs to.

        Raises:
            ValueError: when the step is not one of the run's, or there are fewer steps than stages.
        """
        _check_step(step, steps)
        return sum(boundary < step for boundary in self.boundaries(steps))


def frozen() -> ReferenceSchedule:
    """The reference stays the start model (DPO and most others)."""
    return ReferenceSchedule()


def soft(alpha: float | int, every: int) -> ReferenceSchedule:
    """Mix ``alpha`` of the policy into the reference every ``every`` steps (TR-DPO soft, arXiv 2404.09656)."""
    return ReferenceSchedule(weight=alpha, every=every)


def hard(every: int) -> ReferenceSchedule:
    """Copy the policy to the reference every ``every`` steps (TR-DPO hard, arXiv 2404.09656)."""
    return ReferenceSchedule(weight=1.0, every=every)


def staged(stages: int) -> ReferenceSchedule:
    """Copy the policy to the reference between data stages and restart the optimiser (sDPO, arXiv 2403.19270)."""
    return ReferenceSchedule(weight=1.0 if stages > 1 else 0.0, stages=stages, restart=stages > 1)


def _check_step(step: int, steps: int) -> None:
    if not 1 <= step <= steps:
        raise ValueError(f"step must be 1 to {steps} (optimiser steps count from 1), got {step!r}")

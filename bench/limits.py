"""Owns when a worker leaves before the plan is done."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a worker leaves before the plan is done: after ``most`` settings and finals, or ``idle`` seconds of wait."""

    most: int | None = None
    idle: float | None = None

    def share(self, place: int, *, workers: int) -> "Limits":
        """What of ``most`` falls to one of several processes."""
        if self.most is None:
            return self
        return replace(self, most=self.most // workers + (place < self.most % workers))


NO_LIMITS = Limits()

"""One piece of work that is no trial: a run to be brought to its record on one split."""

from dataclasses import dataclass
from functools import cached_property

from bench.core.specs import RunSpec


@dataclass(frozen=True)
class Piece:
    """A run to be brought to its record, and the split that the record is about."""

    spec: RunSpec
    split: str

    @cached_property
    def name(self) -> tuple[str, str]:
        """What tells two pieces apart."""
        return self.spec.key, self.split

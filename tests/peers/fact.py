"""Owns ``Fact``: something that holds of a peer and is no distance between two losses."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One row of the list.

    Fields:
        objective: ours. peer: package. statement: what holds.
        check: raises AssertionError (or pytest's «did not raise») where it does not.
    """

    objective: str
    peer: str
    statement: str
    check: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.objective}: {self.statement}"

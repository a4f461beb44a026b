"""The request of ``bench iterate``, as typed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class IterateRequest:
    """One ``bench iterate``, as typed. ``prompts`` and ``temperature``: None for the defaults."""

    losses: tuple[str, ...]
    suite: str
    model: str | None
    data: tuple[Path, ...] | None
    settings: tuple[str, ...]
    rounds: int
    samples: int
    temperature: float | None
    prompts: int | None
    fresh: bool
    judge: str
    judgements: int
    both_orders: bool
    pairs: str
    reference: str
    seeds: int
    max_cost: float | None
    dry_run: bool
    results: Path

"""Owns how a tuning protocol is told to people: what was fixed for every objective alike."""

from collections.abc import Mapping, Sequence
from typing import Any


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

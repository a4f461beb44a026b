"""Lengths at which a configuration changes what attention or positions do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MARKS = ("window", "chunk", "original_max", "local_attention", "block_size")


def threshold_lengths(config: PretrainedConfig) -> list[int]:
    """Return the sorted lengths, in tokens, at which a configuration changes what attention or positions do.

    Windows, chunks and original contexts, of nested configurations too.
    """
    return sorted(set(_lengths(config.to_dict())))


def _lengths(settings: object) -> list[int]:
    if isinstance(settings, list):
        return [length for each in settings for length in _lengths(each)]
    if not isinstance(settings, dict):
        return []
    own = [
        value
        for name, value in settings.items()
        if isinstance(value, int) and not isinstance(value, bool) and value > 1 and any(m in name for m in MARKS)
    ]
    return own + [length for value in settings.values() for length in _lengths(value)]

"""Longest text that a model reads."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def context_length(config: "PretrainedConfig") -> int | None:
    """Return a model's context in tokens, that of the text part where there are several; None where none is stated."""
    text = config.get_text_config(decoder=True)
    length = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    return length if isinstance(length, int) and length > 0 else None


def vocabulary_size(config: "PretrainedConfig") -> int:
    """Return the number of token ids of the text part."""
    return int(config.get_text_config(decoder=True).vocab_size)

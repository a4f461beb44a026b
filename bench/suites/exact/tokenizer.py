"""The tokenizer of the enumerable problem: a word for each symbol and each context."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_TEXT = "<end>"


def make_tokenizer(*, symbols: int, contexts: int) -> PreTrainedTokenizerFast:
    """Return a fast tokenizer of transformers: ``<end>`` (also the padding), a, b, c, …, and the contexts x1, x2, …"""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [END_TEXT, *map(_symbol_text, range(1, symbols + 1)), *(f"x{n}" for n in range(1, contexts + 1))]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_TEXT, pad_token=END_TEXT)


def _symbol_text(symbol: int) -> str:
    """Return the word of symbol 1, 2, …: a to z, then s27, s28, …"""
    return string.ascii_lowercase[symbol - 1] if symbol <= len(string.ascii_lowercase) else f"s{symbol}"

"""A tiny real tokenizer for tests: words of one letter, 48 ids."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """<eos> is 0 (and BOS), <pad> is 1, the rest are words w2 … w47."""
    vocabulary = {"<eos>": 0, "<pad>": 1, **{f"w{i}": i for i in range(2, 48)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<eos>", eos_token="<eos>", pad_token="<pad>")

"""Owns what both sides are given: random preference pairs, as token ids and as text, and a start model on disk."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from bench.data.tokens import EncodedPair, Ids
from bench.utils.files import write_text_whole
from tests.benchmarks.shapes import Shape

BATCH = 8
"""Pairs per optimiser step."""
PROMPT = 64
RESPONSE = (32, 96)
"""Tokens: of each prompt, and the shortest and longest completion with its EOS; uniform between them."""
EOS, PAD = 0, 1


def draw_pairs(
    count: int, *, vocabulary: int, seed: int, prompt: int = PROMPT, response: tuple[int, int] = RESPONSE
) -> tuple[EncodedPair, ...]:
    """Pairs of random tokens. Chosen completions take the lower half of the vocabulary, rejected ones the upper half,
    so that there is something to learn and the losses of a run differ from step to step."""
    draw = random.Random(seed)
    middle = (2 + vocabulary) // 2

    def words(low: int, high: int, length: int) -> Ids:
        return tuple(draw.randrange(low, high) for _ in range(length))

    return tuple(
        EncodedPair(
            prompt_ids=words(2, vocabulary, prompt),
            chosen_ids=(*words(2, middle, draw.randint(*response) - 1), EOS),
            rejected_ids=(*words(middle, vocabulary, draw.randint(*response) - 1), EOS),
            score_gap=None,
            group=number,
        )
        for number in range(count)
    )


def batches_of(pairs: Sequence[EncodedPair]) -> list[Sequence[EncodedPair]]:
    """The pairs of each step, in order."""
    return [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]


def write_start(shape: Shape, folder: Path, *, seed: int = 0) -> Path:
    """Write a Llama with random weights and its tokenizer, whose words are w2, w3, …; return the folder."""
    # Here, so that a process that only trains does not load them for nothing.
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        max_position_embeddings=shape.context, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=EOS, pad_token_id=PAD,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {"<eos>": EOS, "<pad>": PAD, **{_word(i): i for i in range(2, shape.vocabulary)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=_word(2)))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>").save_pretrained(folder)
    return folder


def texts_of(pair: EncodedPair) -> dict[str, str]:
    """The pair as text, EOS left to whoever reads it; a completion begins with the space that parts it."""
    return {
        "prompt": _text(pair.prompt_ids),
        "chosen": f" {_text(pair.chosen_ids[:-1])}",
        "rejected": f" {_text(pair.rejected_ids[:-1])}",
    }


def write_texts(pairs: Sequence[EncodedPair], path: Path) -> Path:
    """Write the pairs as lines of JSON; return the path."""
    write_text_whole(path, "".join(json.dumps(texts_of(pair)) + "\n" for pair in pairs))
    return path


def _word(number: int) -> str:
    return f"w{number}"


def _text(ids: Ids) -> str:
    return " ".join(map(_word, ids))

"""Owns the models that are measured, random Llamas by size, and the useful operations of one step on them.

Useful is what the mathematics asks for: each prompt once for both of its completions, no padding, the vocabulary only
where it predicts a token of a completion, and no reference, which does not change. Whoever computes more than that
has a lower share of the machine's peak, not more operations.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.data.tokens import EncodedPair
from bench.errors import UsageError, did_you_mean

BACKWARD = 2
"""Operations of a backward pass, in forward passes: the gradient of the inputs and that of the weights."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama with tied embeddings; ``context`` in tokens. ``sweep_pairs``: as many as a sweep of it trains on."""

    name: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    context: int = 512
    sweep_pairs: int = 128


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="tiny", hidden=64, layers=2, heads=2, key_heads=2, inner=176, vocabulary=512),
        Shape(name="1M", hidden=128, layers=4, heads=4, key_heads=4, inner=352, vocabulary=2048),
        Shape(name="5M", hidden=256, layers=5, heads=8, key_heads=8, inner=704, vocabulary=4096),
        Shape(name="25M", hidden=512, layers=6, heads=8, key_heads=8, inner=1408, vocabulary=8192),
        # SmolLM2-135M
        Shape(
            name="135M", hidden=576, layers=30, heads=9, key_heads=3, inner=1536, vocabulary=49152, context=8192,
            sweep_pairs=24,
        ),
    )
}  # fmt: skip


def shape_of(name: str) -> Shape:
    """Return the shape of that name. Raises UsageError for another one."""
    if name not in SHAPES:
        raise UsageError(f"--sizes names {name!r}", fix=did_you_mean(name, SHAPES))
    return SHAPES[name]


def forward_flops(shape: Shape, *, prompt: int, completions: Iterable[int]) -> int:
    """Operations (a product and a sum are two) of one prompt and the completions that share it; lengths in tokens.

    Per token: two for each weight of the linear layers. Attention: four for each number of a head and each pair of a
    token and one that it sees: all of its prompt, its own completion up to itself. Vocabulary: two for each number of
    the hidden state and each word, on completion tokens alone.
    """
    lengths = list(completions)
    width = shape.hidden // shape.heads
    attention_weights = 2 * shape.hidden * width * (shape.heads + shape.key_heads)
    weights = shape.layers * (attention_weights + 3 * shape.hidden * shape.inner)
    seen = prompt * (prompt + 1) // 2 + sum(n * prompt + n * (n + 1) // 2 for n in lengths)
    linear = 2 * weights * (prompt + sum(lengths))
    attention = 4 * shape.heads * width * shape.layers * seen
    head = 2 * shape.hidden * shape.vocabulary * sum(lengths)
    return linear + attention + head


def step_flops(shape: Shape, pairs: Iterable[EncodedPair], *, mismatched: Iterable[tuple[int, int]] = ()) -> int:
    """Useful operations of one step: forward and backward on the pairs, forward alone on mismatched rows.

    Args:
        mismatched: lengths of (prompt, completion) that KTO's KL estimate takes besides, each of them once.
    """
    trained = sum(
        forward_flops(shape, prompt=len(pair.prompt_ids), completions=(len(pair.chosen_ids), len(pair.rejected_ids)))
        for pair in pairs
    )
    estimated = sum(forward_flops(shape, prompt=prompt, completions=(n,)) for prompt, n in mismatched)
    return (1 + BACKWARD) * trained + estimated


def tokens_of(pairs: Iterable[EncodedPair]) -> int:
    """Tokens that are no padding: both completions of each pair, each with its prompt."""
    return sum(2 * len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs)

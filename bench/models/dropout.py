"""Dropout of LoRA adapters whose masks are a function of seed, step and token, whatever else is in the batch.

Whether a feature of a token is dropped is read from a hash of the run's seed, the step, the token and all tokens
before it in its row, the layer, and the feature. So micro-batches, ranks, gradient checkpointing, and the layout of
rows change nothing but rounding. No generator has a state, and a CPU and a GPU draw the same masks. Dropout as such:
Srivastava et al. 2014, in adapters arXiv 2106.09685.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache, cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from bench.data.collate import Padded
from bench.errors import RunError
from bench.models.packed.layout import Layout

LEVELS = 1 << 16
"""Values of the 16 bits that decide on a feature: a rate is a multiple of 1/65,536, and so is its scale."""
FEATURES = 4
"""Features that the 64 bits of one hash decide on."""


def _signed(value: int) -> int:
    """Return the int64 that has the lowest 64 bits of ``value``."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


# The multipliers of SplitMix64 (Steele, Lea and Flood 2014), and odd numbers that keep token, position and step apart.
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
TOKEN, POSITION, STEP = _signed(0x9E3779B97F4A7C15), _signed(0xD1B54A32D192ED03), _signed(0x8CB92BA72F3D8DD7)


def mixed(values: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Return 64 bits, each of which depends on all bits of a value (the finaliser of SplitMix64)."""
    values = (values ^ _shifted(values, 30)) * FIRST
    values ^= _shifted(values, 27)
    values *= SECOND
    return values.bitwise_xor_(_shifted(values, 31))


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (values >> bits).bitwise_and_((1 << (64 - bits)) - 1)


class TokenKeys:
    """The keys of the tokens of one pass, int64 ``[rows, tokens]`` as its ids are; made where a mask is wanted."""

    def __init__(self, laid: Padded | Layout, *, seed: int, step: int) -> None:
        self._laid, self._run = laid, (seed, step)

    @cached_property
    def keys(self) -> Int[Tensor, "rows tokens"]:
        """A key is a hash of seed, step and all tokens of the row up to its own: rows share it as far as they agree."""
        seed, step = self._run
        of_step = int(mixed(torch.tensor(_signed((seed << 32) * TOKEN + step * STEP))))
        return mixed(prefixes(self._laid) ^ of_step)


def prefixes(laid: Padded | Layout) -> Int[Tensor, "rows tokens"]:
    """Return for each token a number of all tokens up to it in its row: the sum of hashes of (token, position)."""
    if isinstance(laid, Padded):
        return _hashes(laid.ids, torch.arange(laid.ids.shape[1], device=laid.ids.device)).cumsum(dim=1)
    hashes = _hashes(laid.ids, laid.positions)[0]
    sums = hashes.cumsum(dim=0)
    pieces = [(*span, *span) for span in laid.prompts]
    pieces += [(*span, *prompt) for prompt, own in zip(laid.prompts, laid.completions, strict=True) for span in own]
    start, end, prompt_start, prompt_end = torch.tensor(sorted(pieces), device=sums.device).T
    before = sums[start] - hashes[start]
    prompt = sums[prompt_end - 1] - sums[prompt_start] + hashes[prompt_start]
    # What stands before a piece in the packed row is taken off; a completion gets its prompt instead.
    offset = torch.where(start == prompt_start, 0, prompt) - before
    return (sums + offset.repeat_interleave(end - start))[None]


def _hashes(ids: Tensor, positions: Tensor) -> Tensor:
    return mixed(ids * TOKEN + positions * POSITION)


_step: ContextVar[tuple[int, int] | None] = ContextVar("seed and step of a training pass", default=None)
_keys: ContextVar[Callable[[], Tensor] | None] = ContextVar("keys of the tokens of a pass", default=None)


@contextmanager
def dropout_of(*, seed: int, step: int) -> Iterator[None]:
    """Let passes with ``row_masks`` drop features in the block, with the masks of a run's step (from 0)."""
    token = _step.set((seed, step))
    try:
        yield
    finally:
        _step.reset(token)


@contextmanager
def row_masks(laid: Padded | Layout) -> Iterator[None]:
    """Let adapters drop features of these rows in the block, within ``dropout_of``; elsewhere nothing is dropped."""
    run = _step.get()
    if run is None:
        yield
        return
    tokens = TokenKeys(laid, seed=run[0], step=run[1])
    with _with_keys(lambda: tokens.keys):
        yield


@contextmanager
def only_tokens(indices: Int[Tensor, " tokens"]) -> Iterator[None]:
    """Say that modules get these tokens of a packed row only in the block."""
    keys = _keys.get()
    if keys is None:
        yield
        return
    with _with_keys(lambda: keys().index_select(1, indices)):
        yield


@contextmanager
def only_rows(rows: slice | Int[Tensor, " rows"], *, length: int) -> Iterator[None]:
    """Say that modules get the first ``length`` tokens of these padded rows only in the block."""
    keys = _keys.get()
    if keys is None:
        yield
        return
    with _with_keys(lambda: keys()[rows, :length]):
        yield


def same_masks() -> Callable[[], AbstractContextManager[None]]:
    """Return what gives the context of the masks of now again, in whatever thread a layer's second pass runs."""
    keys = _keys.get()
    return lambda: _with_keys(keys)


@contextmanager
def _with_keys(keys: Callable[[], Tensor] | None) -> Iterator[None]:
    token = _keys.set(keys)
    try:
        yield
    finally:
        _keys.reset(token)


class RowDropout(nn.Module):
    """Dropout with masks by row. It drops nothing but in ``row_masks``, whatever its mode.

    Args:
        rate: share of features that is dropped, 0 ≤ rate < 1.
        number: of this layer among those that drop; two layers draw different masks.
    """

    def __init__(self, rate: float, *, number: int) -> None:
        super().__init__()
        self.kept = max(1, round((1 - rate) * LEVELS))
        self.number = number

    def extra_repr(self) -> str:
        """Return the rate for ``print``."""
        return f"rate={1 - self.kept / LEVELS:g}, by row"

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x [rows, tokens, features]``, or ``[tokens, features]``, with dropped features 0, others scaled.

        Raises RunError where ``x`` does not have the tokens of the pass, as in the experts of a mixture.
        """
        keys = _keys.get()
        if keys is None or self.kept == LEVELS:
            return x
        tokens, features = keys(), x.shape[-1]
        if x.shape[:-1] != tokens.shape and x.shape[:-1] != (tokens.numel(),):
            raise RunError(
                f"dropout of LoRA: a layer got activations of shape {list(x.shape)} in a pass of {list(tokens.shape)} "
                "tokens, so it is not known which token each one is of",
                fix="--set lora.dropout=0",
            )
        stays = self._stays(tokens.view(x.shape[:-1]), features)
        return x * stays.to(x.dtype).mul_(LEVELS / self.kept)

    def _stays(self, keys: Int[Tensor, "*tokens"], features: int) -> Bool[Tensor, "*tokens features"]:
        blocks = _blocks(self.number, -(-features // FEATURES), keys.device)
        return mixed(keys[..., None] ^ blocks).view(torch.int16)[..., :features] < self.kept - LEVELS // 2


@cache
def _blocks(number: int, count: int, device: torch.device) -> Int[Tensor, " count"]:
    """Return a layer's numbers for each block of features that a hash decides on."""
    return mixed((number << 32) + torch.arange(count, device=device) + 1)


def drop_by_row(model: nn.Module) -> None:
    """Put ``RowDropout`` in the place of each dropout of LoRA's layers."""
    every = (getattr(module, "lora_dropout", None) for module in model.modules())
    for number, each in enumerate(each for each in every if isinstance(each, nn.ModuleDict)):
        for name, own in each.items():
            if isinstance(own, nn.Dropout):
                each[name] = RowDropout(own.p, number=number)

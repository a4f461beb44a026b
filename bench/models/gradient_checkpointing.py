"""Gradient checkpointing: layers keep their inputs only and are computed again in the backward pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def checkpointed(causal: Any, *, within: Callable[[], AbstractContextManager[Any]] = nullcontext) -> Iterator[None]:
    """For the block's time let each layer of a model keep its inputs only (arXiv 1604.06174).

    The numbers stay the same: a layer's second pass is its first one again, random numbers included. Transformers' own
    switch does nothing outside of its training mode, which a policy is not in (dropout).

    Args:
        within: gives the context that a layer's second pass is to run in, that of its first one.
    """
    layers = layers_of(causal)
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        # A layer's own ``forward`` and not its call: hooks of those who shard it see one pass, and FSDP2 has its
        # weights gathered when the second one comes.
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, context_fn=lambda: (nullcontext(), within())
        )
    try:
        yield
    finally:
        for layer, placed in zip(layers, before, strict=True):
            if placed is None:
                del layer.forward
            else:
                layer.forward = placed


def layers_of(causal: Any) -> list[nn.Module]:
    """The modules that transformers never splits over devices: a model's layers. Empty for a model without any."""
    base = causal.get_base_model() if hasattr(causal, "get_base_model") else causal
    names = set(getattr(base, "_no_split_modules", None) or ())
    return [module for module in base.modules() if type(module).__name__ in names]

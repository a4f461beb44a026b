"""Gradient checkpointing: layers keep their inputs only and are computed again in the backward pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from bench.models.compat import layer_class_names, plain_model
from bench.models.dropout import same_masks


@contextmanager
def checkpointed(
    causal: nn.Module, *, within: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[None]:
    """Let each layer of a model keep its inputs only in the block (arXiv 1604.06174).

    The numbers stay the same: a layer's second pass is its first one again, with the same dropout. Transformers' own
    switch does nothing outside of its training mode, which a policy is not in.

    Args:
        within: gives the context that a layer's second pass is to run in, that of its first one.
    """
    layers = layers_of(causal)

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        masks = same_masks()  # of the rows that are in the layer now

        @contextmanager
        def again() -> Iterator[None]:
            with within(), masks():
                yield

        return nullcontext(), again()

    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        # A layer's own ``forward`` and not its call: hooks of those who shard it see one pass, and FSDP2 has its
        # weights gathered when the second one comes.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, context_fn=contexts)
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                del layer.forward
            else:
                layer.forward = own


def layers_of(causal: nn.Module) -> list[nn.Module]:
    """Return a model's layers, the modules that transformers never splits over devices; empty where it has none."""
    base = plain_model(causal)
    names = layer_class_names(base)
    return [module for module in base.modules() if type(module).__name__ in names]

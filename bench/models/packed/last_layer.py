"""Last-layer MLP on the tokens that predict a completion token only.

Keys and values of the last layer are made before its MLP, so what the MLP gives for the inner tokens of a prompt meets
nothing but the final norm. It works on each token by itself, so for all others nothing changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from bench.models.packed.layout import Layout


@contextmanager
def only_read_tokens(backbone: nn.Module, layout: Layout) -> Iterator[None]:
    """For the block's time let the MLP of the last layer work on ``layout.read`` only; zeros stand elsewhere."""
    mlp = last_mlp(backbone)
    if mlp is None:
        yield
        return
    own, placed = mlp.forward, vars(mlp).get("forward")

    def forward(x: Tensor) -> Any:
        found = own(x.index_select(1, layout.read))
        if not isinstance(found, Tensor):  # a mixture of experts that returns more than that
            return own(x)
        return found.new_zeros(*x.shape[:-1], found.shape[-1]).index_copy(1, layout.read, found)

    mlp.forward = forward
    try:
        yield
    finally:
        if placed is None:
            del mlp.forward
        else:
            mlp.forward = placed


def last_mlp(backbone: nn.Module) -> nn.Module | None:
    """The MLP of the last layer, where a model's layers are a list and have one by this name."""
    layers = getattr(backbone, "layers", None)
    found = getattr(layers[-1], "mlp", None) if isinstance(layers, nn.ModuleList) and len(layers) else None
    return found if isinstance(found, nn.Module) else None

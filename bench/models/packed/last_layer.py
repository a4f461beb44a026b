"""Last-layer MLP on the tokens that predict a completion token only.

Keys and values of the last layer are made before its MLP, so what the MLP gives for the inner tokens of a prompt meets
nothing but the final norm. It works on each token by itself, so for all others nothing changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bench.models.dropout import only_tokens
from bench.models.packed.layout import Layout


@contextmanager
def only_read_tokens(backbone: nn.Module, layout: Layout) -> Iterator[None]:
    """Let the last layer's MLP work on ``layout.read`` only in the block; it gives zeros elsewhere."""
    mlp = last_mlp(backbone)
    if mlp is None:
        yield
        return
    own, replaced = mlp.forward, vars(mlp).get("forward")

    def forward(x: Tensor) -> object:
        with only_tokens(layout.read):
            output = own(x.index_select(1, layout.read))
        if not isinstance(output, Tensor):  # a mixture of experts that returns more than that
            return own(x)
        return output.new_zeros(*x.shape[:-1], output.shape[-1]).index_copy(1, layout.read, output)

    mlp.forward = forward
    try:
        yield
    finally:
        if replaced is None:
            del mlp.forward
        else:
            mlp.forward = replaced


def last_mlp(backbone: nn.Module) -> nn.Module | None:
    """Return the MLP of the last layer, where a model's layers are a list and have one by this name."""
    layers = getattr(backbone, "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if isinstance(layers, nn.ModuleList) and len(layers) else None
    return mlp if isinstance(mlp, nn.Module) else None

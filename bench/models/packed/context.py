"""Type of the context that the two passes of a ``torch.autograd.Function`` share."""

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """Methods and fields of torch's own context that the packed path uses. A function's own fields: in a subclass."""

    needs_input_grad: tuple[bool, ...]

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """Tensors from ``save_for_backward``, in that order; what was None there is None here."""
        ...

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Mark results that have no gradient."""

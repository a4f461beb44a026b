"""Finite differences of functions with stop-gradients: what was detached is held at its value."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Detach(TorchFunctionMode):
    """Record what ``Tensor.detach`` gives, or give what was recorded, call by call."""

    def __init__(self, recorded: list[Tensor], *, replay: bool) -> None:
        super().__init__()
        self.recorded, self.replay, self.calls = recorded, replay, 0

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        value = func(*args, **(kwargs or {}))
        if func is not torch.Tensor.detach:
            return value
        if self.replay:
            self.calls += 1
            return self.recorded[self.calls - 1]
        assert isinstance(value, Tensor)
        self.recorded.append(value.clone())
        return self.recorded[-1]


def hold_detached(fn: Callable[..., Tensor], *inputs: Tensor) -> Callable[..., Tensor]:
    """Return ``fn`` with everything that it detaches held at what it is for ``inputs``.

    The gradient of a loss with stop-gradients is that of this function, so finite differences can be compared with it.
    """
    recorded: list[Tensor] = []
    with _Detach(recorded, replay=False):
        fn(*inputs)

    def frozen(*moved: Tensor) -> Tensor:
        with _Detach(recorded, replay=True):
            return fn(*moved)

    return frozen

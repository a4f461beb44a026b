"""Faster RMS norm, rotary embedding and SwiGLU for transformers' models.

The same numbers in fewer passes over memory, with gradients written by hand, and in one pass where there are kernels
(``bench.models.packed.kernels``). A form takes a module's place only after it gave the module's own result on a sample
(``EQUAL``), in float32.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bench.models.packed.context import Context
from bench.models.packed.kernels import SUFFIX, Kernels, kernels

EQUAL = 1e-5
"""Largest difference, relative to the largest entry, at which two results count as the same."""
ROTARY = "apply_rotary_pos_emb"
"""The function's name in every modelling file that has it."""
Rotation = Callable[..., tuple[Tensor, Tensor]]
"""``ROTARY`` of a modelling file: (q, k, cos, sin, …) → q and k, rotated."""


class RMSNorm(torch.autograd.Function):
    """x · w / √(mean x² + ε) over the last dimension (arXiv 1910.07467, equation 4)."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        """Return the normed ``x [..., size]`` as ``dtype``."""
        fast = kernels()
        if fast is not None and fast.takes(x, weight) and dtype in SUFFIX:
            out, inverse = fast.norm_forward(x, weight, eps, dtype)
            ctx.save_for_backward(x, weight, inverse)
            return out
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x`` and ``weight``."""
        x, weight, inverse = ctx.saved_tensors
        fast = kernels()
        if fast is not None and fast.takes(x, weight) and fast.takes(grad):
            return *fast.norm_backward(x, weight, inverse, grad), None, None
        size = x.shape[-1]
        flat, scale = grad.reshape(-1, size).to(x.dtype), inverse.reshape(-1, 1)
        unit = x.reshape(-1, size) * scale
        along = flat * unit
        d_weight = along.sum(dim=0) if ctx.needs_input_grad[1] else None
        shared = torch.mv(along, weight).div_(size)
        d_x = (flat * weight).addcmul_(unit, shared[:, None], value=-1).mul_(scale)
        return d_x.view(x.shape), d_weight, None, None


class Rotary(torch.autograd.Function):
    """x · cos + rotate_half(x) · sin (arXiv 2104.09864, equation 34, halves in place of neighbours)."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the rotated ``x [..., tokens, size]``; ``cos`` and ``sin`` broadcast against it."""
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, forth=True)

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of ``x``: rotated back."""
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, forth=False), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, *, forth: bool) -> Tensor:
    fast, lying = kernels(), x.transpose(1, 2)  # [1, tokens, heads, size], as it lies in memory after a projection
    one_row = cos.shape == (1, 1, *x.shape[2:]) and len(x) == 1 and cos.dtype == torch.float32
    if fast is not None and one_row and fast.takes(lying) and fast.takes(cos, sin):
        return fast.rotate(lying[0], cos, sin, forth=forth)[None].transpose(1, 2)
    half = x.shape[-1] // 2
    out = x * cos
    first, second = (sin[..., :half], sin[..., half:]) if forth else (sin[..., half:], sin[..., :half])
    sign = 1 if forth else -1
    out[..., :half].addcmul_(x[..., half:], first, value=-sign)
    out[..., half:].addcmul_(x[..., :half], second, value=sign)
    return out


class SwiGLUContext(Context, Protocol):
    """The kernels that the forward pass used, for the backward pass."""

    fast: Kernels


class SwiGLU(torch.autograd.Function):
    """silu(gate) · up (arXiv 2002.05202, equation 6, without its products)."""

    @staticmethod
    def forward(ctx: SwiGLUContext, gate: Tensor, up: Tensor, fast: Kernels) -> Tensor:
        """Return the product; ``gate`` and ``up`` are alike."""
        ctx.save_for_backward(gate, up)
        ctx.fast = fast
        return fast.swiglu_forward(gate, up)

    @staticmethod
    def backward(ctx: SwiGLUContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``gate`` and ``up``."""
        gate, up = ctx.saved_tensors
        return *ctx.fast.swiglu_backward(gate, up, grad.contiguous()), None


def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """Return what transformers' ``apply_rotary_pos_emb`` gives, for ``q`` and ``k`` that are rotated whole."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return Rotary.apply(q, cos, sin), Rotary.apply(k, cos, sin)


@cache
def _instead_of(own: Rotation) -> Rotation:
    """Return ``rotary`` where ``own`` does the same; ``own`` still rotates heads that it rotates in part."""
    if not _same_rotary(own):
        return own

    def rotated(
        q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *more: object, **named: object
    ) -> tuple[Tensor, Tensor]:
        whole = q.shape[-1] == cos.shape[-1] and not more and not named
        return rotary(q, k, cos, sin) if whole else own(q, k, cos, sin, *more, **named)

    return rotated


def quicken(model: nn.Module) -> int:
    """Give RMS norms, and MLPs with SwiGLU where there are kernels, their faster form; returns to how many.

    Weights and names stay as they are.
    """
    count = 0
    for module in model.modules():
        if isinstance(module, _Quick):
            continue
        form = _QuickNorm if _same_norm(module) else _QuickMLP if _same_mlp(module) else None
        if form is not None:
            module.__class__ = type(type(module).__name__, (form, type(module)), {})
            count += 1
    return count


@contextmanager
def own_forms(model: nn.Module) -> Iterator[None]:
    """Give all modules their own forward again in the block, as transformers wrote it."""
    quick = [(module, type(module)) for module in model.modules() if isinstance(module, _Quick)]
    for module, form in quick:
        module.__class__ = form.__bases__[1]
    try:
        yield
    finally:
        for module, form in quick:
            module.__class__ = form


class _Quick(nn.Module):
    """What has its faster form already."""


class _QuickNorm(_Quick):
    """A norm whose forward is ``RMSNorm`` in float32, and its own otherwise."""

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed ``x [..., size]``."""
        if x.dtype != torch.float32 or self.weight.dtype != torch.float32:
            return super().forward(x)
        # A product that follows would round the result to its own precision: rounded here, it is done once.
        rounds = torch.is_autocast_enabled(x.device.type)
        dtype = torch.get_autocast_dtype(x.device.type) if rounds else x.dtype
        return RMSNorm.apply(x, self.weight, _eps(self), dtype)


class _QuickMLP(_Quick):
    """An MLP whose forward is down(silu(gate(x)) · up(x)), the middle as ``SwiGLU``, where a kernel takes it."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return what the module's own forward returns."""
        fast = kernels()
        if fast is None or x.device.type != "cpu":
            return super().forward(x)
        gate, up = self.gate_proj(x), self.up_proj(x)
        if not fast.takes(gate, up):
            return super().forward(x)
        return self.down_proj(SwiGLU.apply(gate, up, fast))


def _eps(norm: nn.Module) -> object:
    return getattr(norm, "variance_epsilon", getattr(norm, "eps", None))


@torch.no_grad()
def _same_norm(module: nn.Module) -> bool:
    eps, weight = _eps(module), getattr(module, "weight", None)
    if not _takes_one_tensor(module):
        return False
    if not isinstance(eps, float) or not isinstance(weight, Tensor) or weight.ndim != 1 or list(module.children()):
        return False
    if weight.dtype != torch.float32:
        return False
    x = _sample(len(weight), weight)
    try:
        return _equal(module(x), RMSNorm.apply(x, weight, eps, x.dtype))
    except (RuntimeError, TypeError):
        return False


@torch.no_grad()
def _same_mlp(module: nn.Module) -> bool:
    gate, up, down = (getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj"))
    if not (isinstance(gate, nn.Linear) and isinstance(up, nn.Linear) and isinstance(down, nn.Linear)):
        return False
    weight = gate.weight
    if not _takes_one_tensor(module):
        return False
    if weight.dtype != torch.float32 or not weight.is_cpu or kernels() is None:
        return False
    x = _sample(weight.shape[1], weight)
    try:
        return _equal(module(x), down(nn.functional.silu(gate(x)) * up(x)))
    except (RuntimeError, TypeError):
        return False


def _takes_one_tensor(module: nn.Module) -> bool:
    """Return whether a module's forward has no argument but its input: a gate beside it would be lost."""
    return len(inspect.signature(type(module).forward).parameters) == 2


def _sample(size: int, like: Tensor) -> Tensor:
    return torch.linspace(-2, 3, 4 * size, device=like.device, dtype=like.dtype).view(1, 4, -1)


@contextmanager
def quick_rotary(model: nn.Module) -> Iterator[None]:
    """Let a model's file rotate with ``rotary`` in the block, where its own function does the same."""
    before: dict[str, Rotation] = {name: vars(sys.modules[name])[ROTARY] for name in _files(model)}
    for name, own in before.items():
        setattr(sys.modules[name], ROTARY, _instead_of(own))
    try:
        yield
    finally:
        for name, own in before.items():
            setattr(sys.modules[name], ROTARY, own)


def _files(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modelling files of a model's parts that have ``ROTARY``; looked up once."""
    if model not in _files_of:
        names = {type(module).__module__ for module in model.modules()}
        _files_of[model] = tuple(name for name in sorted(names) if ROTARY in vars(sys.modules[name]))
    return _files_of[model]


_files_of: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()


def _same_rotary(own: Rotation) -> bool:
    x = torch.linspace(-2, 3, 2 * 3 * 8).view(1, 2, 3, 8)
    angle = torch.linspace(0, 3, 3 * 8).view(1, 3, 8)
    try:
        expected = own(x, x[:, :1], angle.cos(), angle.sin())
    except (RuntimeError, TypeError, ValueError):
        return False
    return all(_equal(a, b) for a, b in zip(expected, rotary(x, x[:, :1], angle.cos(), angle.sin()), strict=True))


def _equal(expected: Tensor, ours: Tensor) -> bool:
    return expected.shape == ours.shape and bool((expected - ours).abs().max() <= EQUAL * expected.abs().max())

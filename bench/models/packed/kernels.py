"""Optional kernels in C (``kernels.c``): built where there is a compiler, checked against torch.

They are an accelerator and no more: every caller has the same computation in torch beside its call. The library is
built once a machine, into ``$XDG_CACHE_HOME/lossbench``; ``LOSSBENCH_KERNELS=off`` does without.

Whether they are used is a property of the machine, since they round otherwise than torch does. So a build that fails
for a reason that may pass (a compiler that was ended or takes too long, a full disk) is an error and no reason to go on
without: the next process would compute other digits.
"""

import ctypes
import errno
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import RunError
from bench.models.compat import softmax_backward

logger = logging.getLogger(__name__)
SOURCES = ("kernels.c", "kernels.h")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-shared")
SUFFIX = {torch.float32: "fp32", torch.bfloat16: "bf16"}
EQUAL = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Largest difference from torch's result, relative to the largest entry."""
ALONE = 1 << 15
"""Numbers below which one thread does the work."""
LONGEST = 1 << 14
"""Keys of a tile: a row of scores lies on a thread's stack."""
BUILD_SECONDS = 600
"""Longest build; it takes some five seconds."""
PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EIO})
"""Errors of the system that may be gone in the next process; a folder that cannot be written is none."""
_NUMBER = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
ARGUMENTS = {
    "norm_forward": "ppppiif",
    "norm_backward": "ppppppii",
    "rotate": "ppppiiif",
    "softmax_tile": "ppiiiii",
    "softmax_backward": "ppii",
    "head_scores": "pppppii",
    "head_slopes": "pppppii",
    "swiglu_forward": "pppi",
    "swiglu_backward": "pppppi",
}
"""Of each kernel, as in ``kernels.h``, without the threads that come last: pointers, integers, floats."""


class Kernels:
    """The kernels as functions of tensors: on a CPU, contiguous, float32 or bfloat16 (``takes``)."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._calls = {}
        for name, kinds in ARGUMENTS.items():
            for suffix in SUFFIX.values():
                call = getattr(library, f"{name}_{suffix}")
                call.argtypes, call.restype = [*(_NUMBER[kind] for kind in kinds), ctypes.c_int], None
                self._calls[name, suffix] = call

    @staticmethod
    def takes(*tensors: Tensor) -> bool:
        """Return whether a kernel takes these together: of one type that it knows, each contiguous."""
        dtype = tensors[0].dtype
        return dtype in SUFFIX and all(
            x.device.type == "cpu" and x.dtype == dtype and x.is_contiguous() for x in tensors
        )

    def norm_forward(self, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the RMS norm of float32 ``x [..., size]`` as ``dtype``, and 1/rms ``[..., 1]``."""
        size = x.shape[-1]
        out, inverse = torch.empty_like(x, dtype=dtype), x.new_empty(*x.shape[:-1], 1)
        self._call("norm_forward", dtype, x.numel(), x, weight, out, inverse, inverse.numel(), size, eps)
        return out, inverse

    def norm_backward(self, x: Tensor, weight: Tensor, inverse: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return derivatives by ``x`` and ``weight``."""
        size = x.shape[-1]
        d_x, partial = torch.empty_like(x), x.new_zeros(torch.get_num_threads(), size)
        rows = inverse.numel()
        self._call("norm_backward", grad.dtype, x.numel(), x, weight, inverse, grad, d_x, partial, rows, size)
        return d_x, partial.sum(dim=0)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor, *, forth: bool) -> Tensor:
        """Rotate ``x [tokens, heads, size]`` by float32 ``cos`` and ``sin`` ``[tokens, size]``, forth or back."""
        out = torch.empty_like(x)
        self._call("rotate", x.dtype, x.numel(), x, cos, sin, out, *x.shape, 1.0 if forth else -1.0)
        return out

    def softmax_tile(
        self, scores: Tensor, before: Tensor, shape: tuple[int, int, int, int], window: int | None
    ) -> Tensor:
        """Take in place the softmax of ``scores [blocks, heads, queries, keys]`` over the keys that are seen.

        Args:
            before: keys before a block's first query, int64 ``[blocks]``.
        """
        self._call("softmax_tile", scores.dtype, scores.numel(), scores, before, *shape, window or 0)
        return scores

    def softmax_backward(self, p: Tensor, slopes: Tensor) -> Tensor:
        """Compute in place the derivative by the scores from that by the probabilities."""
        length = p.shape[-1]
        self._call("softmax_backward", p.dtype, p.numel(), p, slopes, p.numel() // length, length)
        return slopes

    def head_scores(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return log-probs of ``labels [tokens]`` by ``logits [tokens, vocabulary]``; what ``head_slopes`` needs."""
        logps, tops, rest = (torch.empty(len(labels), dtype=torch.float32) for _ in range(3))
        self._call("head_scores", logits.dtype, logits.numel(), logits, labels, logps, tops, rest, *logits.shape)
        return logps, (tops, rest)

    def head_slopes(self, logits: Tensor, labels: Tensor, kept: tuple[Tensor, Tensor], slopes: Tensor) -> Tensor:
        """Replace logits by the derivative of the loss by them; ``slopes`` is that by the log-probs."""
        slopes = slopes.contiguous()
        self._call("head_slopes", logits.dtype, logits.numel(), logits, labels, *kept, slopes, *logits.shape)
        return logits

    def swiglu_forward(self, gate: Tensor, up: Tensor) -> Tensor:
        """Return silu(gate) · up."""
        out = torch.empty_like(gate)
        self._call("swiglu_forward", gate.dtype, gate.numel(), gate, up, out, gate.numel())
        return out

    def swiglu_backward(self, gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return derivatives by ``gate`` and ``up``."""
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        self._call("swiglu_backward", gate.dtype, gate.numel(), gate, up, grad, d_gate, d_up, gate.numel())
        return d_gate, d_up

    def _call(self, name: str, dtype: torch.dtype, size: int, *arguments: Tensor | float) -> None:
        threads = 1 if size < ALONE else torch.get_num_threads()
        values = (each.data_ptr() if isinstance(each, Tensor) else each for each in arguments)
        self._calls[name, SUFFIX[dtype]](*values, threads)


@cache
def kernels() -> Kernels | None:
    """Return the kernels, or None where they are unwanted, cannot be built, or do not give torch's results.

    Raises:
        RunError: the build failed for a reason that may pass.
    """
    if os.environ.get("LOSSBENCH_KERNELS", "").lower() in ("off", "0", "no", "false"):
        return None
    try:
        candidate = Kernels(ctypes.CDLL(str(_built())))
        wrong = _differing(candidate)
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        if _may_pass(error):
            raise RunError(
                f"the kernels in C could not be built: {_reason(error)}",
                fix="run the same command again, or without them: LOSSBENCH_KERNELS=off (other last digits, slower)",
            ) from error
        logger.info("no kernels in C: %s; torch computes everything", error)
        return None
    if wrong:
        logger.warning("the kernels in C are not used: %s differ from torch's results", ", ".join(wrong))
        return None
    return candidate


def _may_pass(error: Exception) -> bool:
    """Say whether a failure of the build says nothing of the next one."""
    if isinstance(error, subprocess.CalledProcessError):
        # The driver of the compiler reports that a signal ended one of its programs, or was ended itself.
        return error.returncode < 0 or "signal" in (error.stderr or "")
    return isinstance(error, subprocess.TimeoutExpired) or getattr(error, "errno", None) in PASSING


def _reason(error: Exception) -> str:
    stderr = getattr(error, "stderr", None)
    return f"{error}: {stderr.strip().splitlines()[-1]}" if isinstance(stderr, str) and stderr.strip() else str(error)


def _built() -> Path:
    """Return the library for this machine and these sources, built if absent. Raises OSError without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise OSError("the kernels need Linux and a C compiler (gcc)")
    here = Path(__file__).parent
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    ingredients = [
        *FLAGS,
        version,
        platform.machine(),
        _processor(),
        *((here / name).read_text("utf-8") for name in SOURCES),
    ]
    key = hashlib.sha256("\0".join(ingredients).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lossbench"
    library = folder / f"kernels-{key}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / library.name
            line = [compiler, *FLAGS, "-o", str(made), str(here / SOURCES[0]), "-lm"]
            subprocess.run(line, capture_output=True, text=True, check=True, timeout=BUILD_SECONDS)
            made.rename(library)
    return library


def _processor() -> str:
    """Return what the compiler looks at for -march=native."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


@torch.no_grad()
def _differing(candidate: Kernels) -> list[str]:
    """Return names of the kernels whose results on a sample are not torch's."""
    generator = torch.Generator().manual_seed(0)
    return sorted(
        {
            name
            for dtype in SUFFIX
            for name, ours, plain in _samples(candidate, dtype, generator)
            if not (ours.float() - plain.float()).abs().max() <= EQUAL[dtype] * plain.float().abs().max()
        }
    )


def _samples(candidate: Kernels, dtype: torch.dtype, generator: torch.Generator) -> list[tuple[str, Tensor, Tensor]]:
    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).mul_(3)

    x, weight, grad = drawn(7, 40), drawn(40), drawn(7, 40).to(dtype)
    normed, inverse = candidate.norm_forward(x, weight, 1e-5, dtype)
    with torch.enable_grad():
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        plain_norm = torch.nn.functional.rms_norm(leaves[0], (40,), leaves[1], 1e-5)
        slopes = torch.autograd.grad(plain_norm, leaves, grad.float())
    d_x, d_weight = candidate.norm_backward(x, weight, inverse, grad)
    heads, angle = drawn(5, 3, 8).to(dtype), drawn(5, 8)
    back_and_forth = candidate.rotate(
        candidate.rotate(heads, angle.cos(), angle.cos(), forth=True), angle.cos(), angle.cos(), forth=False
    )
    scale = _turned(_turned(heads.float(), angle.cos(), 1), angle.cos(), -1)
    scores, before = drawn(2, 3, 4, 6).to(dtype), torch.tensor([2, 0])
    seen = torch.arange(6) <= before[:, None, None, None] + torch.arange(4)[:, None]
    plain_p = scores.float().masked_fill(~seen, -torch.inf).softmax(dim=-1)
    p = candidate.softmax_tile(scores.clone(), before, (2, 3, 4, 6), None)
    d_p = drawn(2, 3, 4, 6).to(dtype)
    plain_d = softmax_backward(d_p.float(), p.float())
    logits, labels, own = drawn(4, 50).to(dtype), torch.tensor([3, 0, 49, 7]), drawn(4)
    log_p = logits.float().log_softmax(dim=-1)
    logps, kept = candidate.head_scores(logits, labels)
    one_hot = torch.nn.functional.one_hot(labels, 50)
    gate, up, d_out = (drawn(6, 9).to(dtype) for _ in range(3))
    with torch.enable_grad():
        pair = gate.float().requires_grad_(), up.float().requires_grad_()
        plain_product = torch.nn.functional.silu(pair[0]) * pair[1]
        d_pair = torch.autograd.grad(plain_product, pair, d_out.float())
    d_gate, d_up = candidate.swiglu_backward(gate, up, d_out)
    return [
        ("norm_forward", normed, plain_norm),
        ("norm_backward", d_x, slopes[0]),
        ("norm_backward", d_weight, slopes[1]),
        ("rotate", back_and_forth, scale),
        ("softmax_tile", p, plain_p),
        ("softmax_backward", candidate.softmax_backward(p, d_p.clone()), plain_d),
        ("head_scores", logps, log_p[torch.arange(4), labels]),
        (
            "head_slopes",
            candidate.head_slopes(logits.clone(), labels, kept, own),
            own[:, None] * (one_hot - log_p.exp()),
        ),
        ("swiglu_forward", candidate.swiglu_forward(gate, up), plain_product),
        ("swiglu_backward", d_gate, d_pair[0]),
        ("swiglu_backward", d_up, d_pair[1]),
    ]


def _turned(x: Tensor, values: Tensor, sign: int) -> Tensor:
    """Rotate ``x [tokens, heads, size]`` with ``values`` as cos and as sin, by the formula."""
    values, half = values[:, None], x.shape[-1] // 2
    crossed = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    if sign > 0:
        return x * values + crossed * values
    mixed = x * values
    return x * values + torch.cat([mixed[..., half:], -mixed[..., :half]], dim=-1)

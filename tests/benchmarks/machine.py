"""Owns what the machine is and can do: its name, its best matrix products, peak memory, and its clock."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.models.matmul import TOLERANCE, current_route, error_of
from bench.utils.environment import peak_memory_bytes

PACKAGES = ("trl", "torch", "transformers", "accelerate")
SHAPES = ((1024, 1024, 1024), (1536, 512, 1408), (1024, 512, 8192), (2048, 2048, 2048))
GPU_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192))


def device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def now() -> float:
    """Seconds on a clock that only goes on, once the GPU has done all that it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes() -> int:
    """The most memory this process has had: of the GPU as torch allocated it, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_memory_bytes()
    # ru_maxrss begins with what the parent had when it started this process; this value does not.
    (line,) = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def describe() -> dict[str, Any]:
    """The machine and the versions, for the record."""
    on_gpu = torch.cuda.is_available()
    return {
        "processor": torch.cuda.get_device_name() if on_gpu else _processor(),
        "device": device().type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def peaks(*, seconds: float) -> dict[str, float]:
    """The most operations per second of a matrix product, by precision: the best of all shapes and routes.

    Each is repeated for ``seconds``, and the best time counts. float32 through oneDNN counts where it is float32
    (``bench.models.matmul``). On a GPU, float32 is without TF32.
    """
    return {"fp32": _best(torch.float32, seconds), "bf16": _best(torch.bfloat16, seconds)}


def quartiles(values: Any) -> dict[str, float]:
    """Median and quartiles of repeated measurements."""
    low, middle, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75))
    return {"median": float(middle), "low": float(low), "high": float(high)}


def _best(dtype: torch.dtype, seconds: float) -> float:
    where = device()
    if where.type == "cuda":
        return max(_rate(shape, dtype, where, seconds) for shape in GPU_SHAPES)
    before = current_route()
    routes = [before]
    if dtype is torch.float32 and error_of("bf16") < TOLERANCE:
        routes.append("bf16")
    found = []
    try:
        for route in routes:
            torch.backends.mkldnn.matmul.fp32_precision = route
            found += [_rate(shape, dtype, where, seconds) for shape in SHAPES]
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    return max(found)


def _rate(shape: tuple[int, int, int], dtype: torch.dtype, where: torch.device, seconds: float) -> float:
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=where).to(dtype)
    b = torch.randn(inner, columns, device=where).to(dtype)
    torch.mm(a, b)
    end, best = now() + seconds, float("inf")
    while (start := now()) < end:
        torch.mm(a, b)
        best = min(best, now() - start)
    return 2 * rows * inner * columns / best


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    known = dict(
        (part.strip() for part in line.split(":", 1))
        for line in facts.read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    name = known.get("model name", platform.machine())
    return f"{name} (family {known['cpu family']}, model {known['model']})" if "cpu family" in known else name

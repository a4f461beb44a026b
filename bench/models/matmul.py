"""Choice of the CPU route for matrix products, by the processor alone; both routes are float32.

Torch's default is MKL, which takes an AVX2 path on processors that are not Intel's. oneDNN has AVX512 on all of them.
The only public switch to oneDNN is the permission to reduce precision, which a processor without AMX has no use for:
there the products stay float32. One with AMX would really round to bfloat16, so a product is compared with float64.

The routes differ in the last digits. So nothing that changes from one process to the next, as a stopwatch does, may
decide: a run, its resume, its workers, and its ranks on machines of one kind compute the same bits.
"""

import os
from pathlib import Path
from typing import Literal, get_args

import torch

from bench.errors import UsageError

Route = Literal["none", "bf16"]
"""Values of ``torch.backends.mkldnn.matmul.fp32_precision``: the default, and oneDNN where it is allowed to round."""

ROUTE = "LOSSBENCH_MATMUL"
"""Environment variable with a ``Route`` to take instead of the processor's: on other machines, to compute as it did."""
TOLERANCE = 1e-5
"""Largest relative error against float64 (Frobenius norm) of a route that counts as float32."""
SHAPES = ((512, 192, 512), (1024, 512, 1024))
INTEL = "GenuineIntel"


def take_route() -> Route:
    """Set the route of this processor, or that of ``LOSSBENCH_MATMUL``, for this process, and return it.

    Raises:
        UsageError: the variable names no route, or one that is not float32 here.
    """
    wanted = os.environ.get(ROUTE, "").strip()
    route = route_of(vendor=processor_vendor(), capability=torch.backends.cpu.get_cpu_capability())
    if wanted:
        route = _named(wanted)
    if route != "none" and not error_of(route) < TOLERANCE:
        if wanted:
            raise UsageError(
                f"{ROUTE}={wanted}: products would be rounded on this processor (relative error {error_of(route):.1g})",
                fix=f"unset {ROUTE}, or set ONEDNN_MAX_CPU_ISA=AVX512_CORE too, which keeps oneDNN exact",
            )
        route = "none"
    set_route(route)
    return route


def route_of(*, vendor: str | None, capability: str) -> Route:
    """Return the route that was fast on a kind of processor: oneDNN on those with AVX512 that are not Intel's.

    Args:
        vendor: as the processor states it, e.g. ``AuthenticAMD``; None where it is not known.
        capability: of torch's own vector code, e.g. ``AVX512``.
    """
    return "bf16" if vendor is not None and vendor != INTEL and capability == "AVX512" else "none"


def processor_vendor(path: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the processor's vendor; None where the system does not say (not Linux, not x86)."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), None)


def current_route() -> str:
    """Return the route that float32 matrix products take now."""
    return str(torch.backends.mkldnn.matmul.fp32_precision)  # type: ignore[attr-defined]  # made at run time


def set_route(route: str) -> None:
    """Set a route for this process, whatever it computes."""
    torch.backends.mkldnn.matmul.fp32_precision = route  # type: ignore[attr-defined]  # made at run time


def error_of(route: Route) -> float:
    """Return a route's largest relative error on products as in a small and a middle-sized transformer.

    The setting is put back.
    """
    before, error = current_route(), 0.0
    generator = torch.Generator().manual_seed(0)
    set_route(route)
    try:
        for rows, inner, columns in SHAPES:
            a, b = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
            exact = a.double() @ b.double()
            error = max(error, float((a @ b - exact).norm() / exact.norm()))
    finally:
        set_route(before)
    return error


def _named(text: str) -> Route:
    known: dict[str, Route] = {each: each for each in get_args(Route)}
    if text not in known:
        raise UsageError(f"{ROUTE} must be none or bf16 (got {text!r})", fix=f"unset {ROUTE}: the processor decides")
    return known[text]

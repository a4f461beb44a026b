"""Choice of the fastest CPU route for matrix products that is still float32.

Torch's default is MKL, which on AMD takes an AVX2 path; oneDNN has AVX512. The only public switch to oneDNN is the
permission to reduce precision, which a CPU without AMX has no use for: there the products stay float32. A CPU with AMX
would really round to bfloat16, so both routes are timed and compared with float64 before one is taken.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch

Route = Literal["none", "bf16"]
"""Values of ``torch.backends.mkldnn.matmul.fp32_precision``: the default, and oneDNN where it is allowed to round."""

TOLERANCE = 1e-5
"""Largest relative error against float64 (Frobenius norm) of a route that counts as float32."""
GAIN = 1.2
"""A route that is not the default has to be this much faster, so that noise never makes the choice."""
SHAPES = ((512, 192, 512), (1024, 512, 1024))
TIMES = 5


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one route was seen to do: relative error against float64, and seconds for one product of each shape."""

    route: Route
    error: float
    seconds: float


def take_fastest_route() -> Route:
    """Probe the routes (about 20 ms), set the best for this process, and return it."""
    route = choose(probe("none"), probe("bf16"))
    take_route(route)
    return route


def current_route() -> str:
    """Return the route that float32 matrix products take now."""
    return str(torch.backends.mkldnn.matmul.fp32_precision)  # type: ignore[attr-defined]  # made at run time


def choose(default: Probe, other: Probe) -> Route:
    """Return the other route where it is float32 and clearly faster, else the default."""
    exact, fast = other.error < TOLERANCE, other.seconds * GAIN < default.seconds
    return other.route if exact and fast else default.route


def probe(route: Route) -> Probe:
    """Measure a route on a product as in a small and a middle-sized transformer; the setting is put back."""
    before = current_route()
    generator = torch.Generator().manual_seed(0)
    error, seconds = 0.0, 0.0
    take_route(route)
    try:
        for rows, inner, columns in SHAPES:
            a, b = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
            exact = a.double() @ b.double()
            error = max(error, float((a @ b - exact).norm() / exact.norm()))
            seconds += min(_seconds(a, b) for _ in range(TIMES))
    finally:
        take_route(before)
    return Probe(route=route, error=error, seconds=seconds)


def take_route(route: str) -> None:
    """Set the route for this process, as a process probed it that this one works for."""
    torch.backends.mkldnn.matmul.fp32_precision = route  # type: ignore[attr-defined]  # made at run time


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(a, b)
    return time.perf_counter() - started

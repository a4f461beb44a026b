"""The route of float32 matrix products: fast where it is float32, never where it rounds."""

from collections.abc import Iterator

import pytest
import torch

from bench.models.matmul import TOLERANCE, Probe, choose, current_route, probe, take_fastest_route


@pytest.fixture(autouse=True)
def setting_put_back() -> Iterator[None]:
    before = torch.backends.mkldnn.matmul.fp32_precision
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before


@pytest.mark.parametrize(
    ("error", "seconds", "taken"),
    [
        (1e-6, 0.5, "bf16"),
        (1e-6, 0.9, "none"),  # not clearly faster
        (4e-3, 0.1, "none"),  # really bfloat16
        (float("nan"), 0.1, "none"),
    ],
)
def test_a_route_is_taken_only_where_it_is_float32_and_clearly_faster(error: float, seconds: float, taken: str) -> None:
    default = Probe(route="none", error=4e-7, seconds=1.0)
    assert choose(default, Probe(route="bf16", error=error, seconds=seconds)) == taken


def test_a_probe_measures_and_puts_the_setting_back() -> None:
    before = current_route()
    measured = probe("bf16")
    assert current_route() == before
    assert measured.seconds > 0
    assert 0 < measured.error < 1e-2  # bfloat16 at worst


def test_products_on_the_route_that_is_taken_are_float32() -> None:
    assert take_fastest_route() == current_route()
    a, b = torch.randn(300, 200), torch.randn(200, 100)
    exact = a.double() @ b.double()
    assert float((a @ b - exact).norm() / exact.norm()) < TOLERANCE

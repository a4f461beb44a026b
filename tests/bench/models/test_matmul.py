"""The route of float32 matrix products: the processor's, never a stopwatch's, and never one that rounds."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.errors import UsageError
from bench.models.matmul import (
    ROUTE,
    TOLERANCE,
    current_route,
    error_of,
    processor_vendor,
    route_of,
    set_route,
    take_route,
)

ROUNDS = error_of("bf16") >= TOLERANCE
"""Whether this processor rounds where it may: it has AMX."""


@pytest.fixture(autouse=True)
def setting_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(ROUTE, raising=False)
    before = current_route()
    yield
    set_route(before)


@pytest.mark.parametrize(
    ("vendor", "capability", "route"),
    [
        ("AuthenticAMD", "AVX512", "bf16"),
        ("AuthenticAMD", "AVX2", "none"),  # oneDNN has no wider vectors there
        ("GenuineIntel", "AVX512", "none"),  # MKL is made for it
        (None, "AVX512", "none"),
        (None, "DEFAULT", "none"),
    ],
)
def test_the_processor_alone_decides(vendor: str | None, capability: str, route: str) -> None:
    assert route_of(vendor=vendor, capability=capability) == route


def test_the_vendor_is_what_the_system_says(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    assert processor_vendor(path) is None
    path.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\n")
    assert processor_vendor(path) == "AuthenticAMD"
    path.write_text("processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd\n")
    assert processor_vendor(path) is None


def test_products_on_the_route_that_is_taken_are_float32() -> None:
    before = current_route()
    assert error_of("none") < TOLERANCE
    assert current_route() == before
    assert take_route() == current_route()
    a, b = torch.randn(300, 200), torch.randn(200, 100)
    exact = a.double() @ b.double()
    assert float((a @ b - exact).norm() / exact.norm()) < TOLERANCE


def test_the_environment_may_name_a_route_but_none_that_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROUTE, "none")
    assert take_route() == current_route() == "none"
    monkeypatch.setenv(ROUTE, "fast")
    with pytest.raises(UsageError, match="must be none or bf16"):
        take_route()
    monkeypatch.setenv(ROUTE, "bf16")
    if ROUNDS:
        with pytest.raises(UsageError, match="would be rounded on this processor"):
            take_route()
        assert current_route() == "none"
    else:
        assert take_route() == current_route() == "bf16"


def test_every_process_takes_the_same_route() -> None:
    program = "from bench.models.matmul import take_route; print(take_route())"
    outputs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1

"""What one process of tests must not keep of a comparison: the route of products, and what TRL told accelerate."""

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from bench.models.matmul import current_route


@pytest.fixture(autouse=True, scope="package")
def process_as_it_was() -> Iterator[None]:
    """Put both back after the tests of this folder."""
    route = current_route()
    yield
    torch.backends.mkldnn.matmul.fp32_precision = route
    AcceleratorState._reset_state(reset_partial_state=True)

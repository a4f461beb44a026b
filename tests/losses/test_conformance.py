"""Every objective has the properties that all must have: gradients, invariances, extremes, state, schedule."""

import pytest

from losses import get, names
from losses.testing import check_objective


@pytest.mark.parametrize("name", names())
def test_objective_conforms(name):
    check_objective(get(name))

"""Names without anything that changes from process to process, and a registry that forgets.

Workers that run the tests side by side must collect the same names, so bytes that are no text (a compressed file
holds the second of its making) are named after their argument, not after their value.
"""

import pytest
from hypothesis import settings

# The first example of a test may load libraries, and a busy machine must not fail a test.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def pytest_make_parametrize_id(config, val, argname):
    return argname if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture
def registry_as_before():
    """What a test registers is forgotten after it: no later test of the process sees it."""
    from losses import names
    from losses.objective import REGISTERED

    names()
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)

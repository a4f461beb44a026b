"""Names without anything that changes from process to process, parts of the tests, and a registry that forgets.

Workers that run the tests side by side must collect the same names, so bytes that are no text (a compressed file
holds the second of its making) are named after their argument, not after their value.
"""

import zlib

import pytest
from hypothesis import settings

# The first example of a test may load libraries, and a busy machine must not fail a test.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def pytest_addoption(parser):
    parser.addoption("--part", metavar="K/N", help="of the selected tests every Nth by name, those that leave K")


def pytest_collection_modifyitems(config, items):
    part = config.getoption("--part")
    if part is None:
        return
    which, of = map(int, part.split("/"))
    kept = [item for item in items if zlib.crc32(item.nodeid.encode()) % of == which % of]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


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

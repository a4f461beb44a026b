"""What the tests with real processes share."""

import pytest

from tests.sweeps.joining import start_worker


@pytest.fixture
def starts(tmp_path):
    """Return a function that starts a worker process; what is still running at the end is ended by its id."""
    started = []

    def start(storage, **changes):
        started.append(start_worker(storage, tmp_path / "evaluations", **changes))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


@pytest.fixture
def join(starts, storage):
    """The same on the storage that the test has."""
    return lambda **changes: starts(storage, **changes)

"""The storage of a run's studies: one connection a process, with patience for outages, and errors for users."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import BaseStorage

from bench.core.request import RunRequest
from bench.errors import RunError, UsageError
from bench.runner.hooks import Hooks
from sweeps.errors import StorageAwayError, StudyError
from sweeps.patience import Patience
from sweeps.storage import open_storage


@contextmanager
def storage_faults() -> Iterator[None]:
    """Turn the errors of a storage or a study into RunError where the storage went away, else into UsageError."""
    try:
        yield
    except StorageAwayError as error:
        raise RunError(error.problem, fix=error.fix) from error
    except StudyError as error:
        raise UsageError(error.problem, fix=error.fix) from error


def patience_of(request: RunRequest, hooks: Hooks) -> Patience:
    """Return how long this command waits for a storage that is away; a stop ends the wait."""
    return Patience(seconds=request.patience, note=hooks.note, should_stop=hooks.should_stop)


def shared_storage(request: RunRequest, hooks: Hooks) -> BaseStorage | None:
    """Return the storage of all studies of a command, one connection for all; None where each has its own journal.

    Raises:
        UsageError: it does not open.
    """
    if request.storage is None:
        return None
    with storage_faults():
        return open_storage(request.storage, patience=patience_of(request, hooks))


def posts_storage(request: RunRequest, hooks: Hooks, shared: BaseStorage | None) -> BaseStorage:
    """Return the storage with the plans of a named study: the shared one, or a journal in the results folder."""
    if shared is not None:
        return shared
    with storage_faults():
        return open_storage(posts_url(request.study or "", None, request.results), patience=patience_of(request, hooks))


def posts_url(study: str, storage: str | None, results: Path) -> str:
    """Return the URL of the storage with the plans of a named study."""
    return storage or f"journal:{results / 'studies' / study / 'journal.log'}"

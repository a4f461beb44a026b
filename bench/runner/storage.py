"""The storage of a command's studies: opened once a process, its outages waited out, its faults told as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import BaseStorage

from bench.core.request import Request
from bench.errors import RunError, UsageError
from bench.runner.hooks import Hooks
from sweeps.errors import StorageAwayError, StudyError
from sweeps.patience import Patience
from sweeps.storage import open_storage


@contextmanager
def storage_faults() -> Iterator[None]:
    """Tell what is wrong with a storage or a study: RunError where it went away, UsageError otherwise."""
    try:
        yield
    except StorageAwayError as error:
        raise RunError(error.problem, fix=error.fix) from error
    except StudyError as error:
        raise UsageError(error.problem, fix=error.fix) from error


def patience_of(request: Request, hooks: Hooks) -> Patience:
    """How long this command waits for a storage that is away; whoever is told to stop waits no longer."""
    return Patience(seconds=request.patience, note=hooks.note, should_stop=hooks.should_stop)


def shared_storage(request: Request, hooks: Hooks) -> BaseStorage | None:
    """The storage that all studies of a command are in, one connection for all; None: each has a journal of its own.

    Raises:
        UsageError: it does not open.
    """
    if request.storage is None:
        return None
    with storage_faults():
        return open_storage(request.storage, patience=patience_of(request, hooks))


def posts_storage(request: Request, hooks: Hooks, shared: BaseStorage | None) -> BaseStorage:
    """The storage that says what a named study is: the shared one, or a journal in the results folder."""
    if shared is not None:
        return shared
    with storage_faults():
        return open_storage(posts_url(request.study or "", None, request.results), patience=patience_of(request, hooks))


def posts_url(study: str, storage: str | None, results: Path) -> str:
    """Where a worker that knows a study's name alone finds what it is."""
    return storage or f"journal:{results / 'studies' / study / 'journal.log'}"

"""Storages of studies, opened by URL: a journal file or a database. URLs are shown without their passwords."""

import logging
import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import optuna

from sweeps import compat
from sweeps.errors import StorageAwayError, StudyError
from sweeps.journal import SharedJournal
from sweeps.patience import Patience, PatientStorage, insist

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

Answer = TypeVar("Answer")
KINDS = "sqlite:///FILE.db, postgresql://USER@HOST/DATABASE, journal:FILE, or a path ending in .log"
PAUSED_SECONDS = 30
# What SQLite, PostgreSQL and MySQL say to a worker that makes the tables at the same time as another: the tables
# are there, or nearly, when it looks again.
_RACE_SIGNS = ("already exists", "UNIQUE constraint", "duplicate key", "Duplicate entry", "is locked")
_NEVER_SIGNS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "Access denied", "Unknown database")
_EXTRAS = {"postgresql": "postgres"}
_PASSWORDS = (
    re.compile(r"(://[^:/?#]*:)(.*)(?=@[^@]*$)"),
    re.compile(r"([?&](?:password|passwd|sslpassword|token)=)([^&]*)", re.IGNORECASE),
)
"""Where a URL holds its password: before the last @, or in the query. What precedes it, and the password."""


def open_storage(url: str, *, patience: Patience | None = None) -> PatientStorage:
    """Open ``sqlite:///…``, ``postgresql://…``, ``journal:PATH`` or a path ending in ``.log``.

    Every call to the storage waits out an outage for as long as ``patience`` says. Nothing in a message names the
    password. Optuna's own log is quietened to errors.

    Raises:
        StudyError: no such kind of storage, a driver that is not installed, or a storage that does not open.
    """
    patience = patience or Patience()
    # Broken connections are reported here instead.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    if url.startswith("journal:") or ("://" not in url and url.endswith(".log")):
        return _open_journal(Path(url.removeprefix("journal:")), patience)
    if "://" not in url:
        raise StudyError(f"storage {redact_url(url)!r} is neither a URL nor a journal file", fix=f"give {KINDS}")
    if url.startswith("grpc://"):
        raise StudyError("grpc:// storages are no longer supported", fix=f"give {KINDS}")
    return _open_database(url, patience)


def redact_url(url: str) -> str:
    """Return a URL as it may be shown: without its password, wherever in it that stands."""
    for pattern in _PASSWORDS:
        url = pattern.sub(r"\1***", url)
    return url


def without_password(text: str, url: str) -> str:
    """Return a message about a storage without its URL's password."""
    secrets = [match[2] for pattern in _PASSWORDS for match in pattern.finditer(url)]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _open_journal(path: Path, patience: Patience) -> PatientStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = optuna.storages.JournalStorage(SharedJournal(path))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"journal {str(path)!r} does not open: {error}", fix="give a file that can be read and written"
        ) from error
    # Errors of Optuna on lines of JSON that are not a journal's.
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudyError(
            f"journal {str(path)!r} is damaged: {type(error).__name__}: {error}",
            fix="delete it and run the same command again: finished runs are kept, and only looked up",
        ) from error
    return PatientStorage(opened, name=str(path), is_outage=_is_file_outage, patience=patience)


def _open_database(url: str, patience: Patience) -> PatientStorage:
    file = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", url)
    if file is not None and file[1] != ":memory:":
        try:
            Path(file[1]).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"storage {url} does not open: {error}", fix="give a file that can be written") from None
    may_come = partial(_may_come, local=url.startswith("sqlite"))
    # Plain «postgresql» is psycopg 3 to SQLAlchemy; whoever has only psycopg2, as the extra installs it, gets that.
    if url.startswith(("postgresql://", "postgres://")) and find_spec("psycopg") is None:
        url = f"postgresql+psycopg2://{url.partition('://')[2]}"
    connect = partial(optuna.storages.RDBStorage, url, engine_kwargs=_options(url))
    opened = _first_answer(connect, url, may_come, patience)
    if url.startswith("postgresql"):
        _end_paused_transactions(opened.engine)
    cached = compat.cached_storage(opened)
    return PatientStorage(cached, name=redact_url(url), is_outage=_is_database_outage, patience=patience)


def _options(url: str) -> dict[str, object]:
    """Return how SQLAlchemy connects: SQLite has one writer at a time, and the others wait for it rather than fail.

    A database server has room for some hundred connections in all, so a process keeps one; a second thread's is closed
    after use. Connections are not tried before use, which would be one more question for each: where a restarted
    server has ended one, the call is made again anyway.
    """
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    options: dict[str, object] = {"pool_size": 1, "max_overflow": 8, "pool_recycle": 600}
    if re.match(r"postgresql(\+psycopg2?)?://", url):
        # A host that lost its power never refuses: after half a minute without an answer it counts as away.
        alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30000}
        options["connect_args"] = {"connect_timeout": 10, **alive}
    return options


def _end_paused_transactions(engine: "Engine") -> None:
    """Have the server end a transaction that its client leaves open: a worker that is paused in the middle of a claim
    would hold the study's lock, and so everybody, until it is awake again."""
    from sqlalchemy import event

    def limit(connection: "DBAPIConnection", _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET idle_in_transaction_session_timeout = {PAUSED_SECONDS * 1000}")
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", limit)
    engine.dispose()


def _first_answer(
    call: Callable[[], Answer], url: str, may_come: Callable[[Exception], bool], patience: Patience
) -> Answer:
    name = redact_url(url)
    try:
        return insist(call, name=name, is_outage=may_come, patience=patience, seconds=patience.opening)
    except ImportError as error:
        kind = re.split(r"[+:]", url, maxsplit=1)[0]
        what = f"'lossbench[{_EXTRAS[kind]}]'" if kind in _EXTRAS else f"(its driver: {error.__cause__})"
        raise StudyError(f"storage {name}: its driver is not installed", fix=f"pip install {what}") from None
    except StorageAwayError as error:
        raise StudyError(without_password(error.problem, url), fix="check the URL, and that its server runs") from None
    # SQLAlchemy and each driver raise classes of their own.
    except Exception as error:
        raise StudyError(
            f"storage {name} does not open: {without_password(str(error), url)}",
            fix="check the URL, that its server runs and that its driver is installed",
        ) from None


def _may_come(error: Exception, *, local: bool) -> bool:
    """Say whether a database that did not open may open later: others are making its tables, or it starts up."""
    text = str(error)
    if any(sign in text for sign in _RACE_SIGNS):
        return True
    return not local and _is_database_outage(error) and not any(sign in text for sign in _NEVER_SIGNS)


def _is_database_outage(error: Exception) -> bool:
    from sqlalchemy import exc

    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if isinstance(cause, exc.OperationalError | exc.InterfaceError | exc.InternalError | exc.TimeoutError):
        return True
    # A connection that broke between two statements of a transaction shows as one of these.
    broken = isinstance(cause, exc.DBAPIError) and (cause.connection_invalidated or type(cause) is exc.DatabaseError)
    return broken or isinstance(cause, exc.PendingRollbackError | exc.ResourceClosedError)


def _is_file_outage(error: Exception) -> bool:
    """Say whether a file may be back soon: one whose folder was removed will not."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NotADirectoryError)

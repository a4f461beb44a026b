"""Cache of verdicts on disk, one file each, keyed by all that decides them, so that no request is paid twice."""

import hashlib
import json
from pathlib import Path

from bench.evaluate.judges.base import STORED_NAMES, AnswerPair, Messages, Verdict, stored_fields
from bench.utils.files import write_text_whole

_FIELDS = {stored: field for field, stored in STORED_NAMES.items()}


def key_of(identity: str, query: AnswerPair | Messages) -> str:
    """Return the SHA-256 of the judge's identity and what it is shown, in that order of the answers."""
    content = [query.instruction, query.first, query.second] if isinstance(query, AnswerPair) else query
    return hashlib.sha256(
        json.dumps([identity, content], ensure_ascii=False).encode(errors="surrogatepass")
    ).hexdigest()


def read_verdict(folder: Path, key: str) -> Verdict | None:
    """Return the verdict kept under ``key``; None where there is none, or a file that is not whole."""
    try:
        stored = json.loads(_path(folder, key).read_bytes())
        return Verdict(**{_FIELDS.get(name, name): value for name, value in stored.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def store_verdict(folder: Path, key: str, verdict: Verdict) -> None:
    """Keep a verdict, whole or not at all. One that failed is not kept: it is requested again.

    Raises RunError: it cannot be written.
    """
    if verdict.outcome != "failed":
        write_text_whole(_path(folder, key), json.dumps(stored_fields(verdict), ensure_ascii=True) + "\n")


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json"

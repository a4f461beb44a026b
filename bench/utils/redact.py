"""Redaction of logs and messages: passwords in URLs, tokens, keys, and the environment's secrets."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, quote_plus

from bench.errors import CONTROL_ESCAPES, LONGEST, MOST_LINES

HIDDEN = "***"

SECRET_ENDS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "CREDENTIALS")
"""The value of an environment variable whose name ends so is a secret."""

SHORTEST = 4
"""A shorter value is not looked for: it would stand in half of all words."""

# Up to the last @ before a blank or a quote, for a password may hold one itself; a port is none. Bounded, for texts
# may be long.
_IN_URL = re.compile(r"(\b[a-zA-Z][\w+.-]{0,40}://[^\s:/@'\"]{0,200}):(?!\d{1,5}/)[^\s'\"]{1,500}@")

_USER_IN_HTTP = re.compile(r"(https?://)[^\s/@:'\"]+@")

# A name in capitals that ends in _KEY is a secret, «run_key» is none.
_SECRET_NAME = (
    r"(?:(?i:[\w.-]{0,60}(?:password|passwd|\bpwd|secret|token|(?:api|access|auth|private)[_-]?key))"
    r"|[A-Z][A-Z0-9_]*_KEY)"
)

_ASSIGNED = re.compile(rf"((?<![\w]){_SECRET_NAME}['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s'\"&,;]+)")

_ASSIGNMENT_LIKELY = re.compile(r"(?i:password|passwd|pwd|secret|token|key)['\"]?\s*[=:]")

_BEARER = re.compile(r"((?i:bearer|basic)\s+)[\w.~+/=-]{8,}")

_SHAPES = re.compile(r"\b(hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abp]-)[A-Za-z0-9_-]{12,}")


def redact(text: str) -> str:
    """Return ``text`` without its secrets, each as ``***``.

    Secrets are passwords in URLs, values given to names such as ``password``, ``token`` or ``api_key``, what follows
    «Bearer», tokens of a known shape, and the values of environment variables whose names end in ``SECRET_ENDS``.
    """
    return _clean(text, _secrets())


def _clean(text: str, secrets: Sequence[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    if "://" in text:
        text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
        text = _USER_IN_HTTP.sub(rf"\1{HIDDEN}@", text)
    # «Authorization: Bearer …» first: the colon's value alone would be the word «Bearer».
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    # Looking for the names from each place of a long text takes long, and most texts have none.
    if _ASSIGNMENT_LIKELY.search(text):
        text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    return _SHAPES.sub(HIDDEN, text)


def redact_values(value: object) -> object:
    """Return plain data (mappings, sequences, texts, numbers) with every text in it redacted."""
    return _cleaned(value, _secrets())


def _cleaned(value: object, secrets: Sequence[str]) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        # JSON has no word for these.
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_clean(str(name), secrets): _of_name(str(name), each, secrets) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(each, secrets) for each in value]
    return _clean(str(value), secrets)


def _of_name(name: str, value: object, secrets: Sequence[str]) -> object:
    secret = isinstance(value, str) and re.fullmatch(_SECRET_NAME, name) is not None
    return HIDDEN if secret else _cleaned(value, secrets)


def _secrets() -> list[str]:
    """Return the environment's secrets as they are and as a URL would hold them, the longest first."""
    values = [value for name, value in os.environ.items() if name.upper().endswith(SECRET_ENDS)]
    long = [value.strip() for value in values if len(value.strip()) >= SHORTEST]
    forms = {form for value in long for form in (value, quote(value, safe=""), quote_plus(value))}
    return sorted(forms, key=lambda form: (-len(form), form))


def for_terminal(text: str) -> str:
    """Return a message as a terminal may be given it: no control characters, no more than ``LONGEST``, no secrets."""
    clean = redact(text).translate(CONTROL_ESCAPES)
    lines = [line if len(line) <= LONGEST else f"{line[: LONGEST - 200]} … {line[-200:]}" for line in clean.split("\n")]
    return "\n".join(lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 2], "…", lines[-1]])

"""Owns what must never be told: passwords in URLs, and the values of environment variables that hold keys."""

import os
import re
from collections.abc import Mapping
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 6
"""Characters from which a value of the environment is taken for a secret: shorter ones are words of any text."""
_NAMES = re.compile(
    r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|(^|_)(AUTH|PWD)($|_)", re.IGNORECASE
)
_IN_URL = re.compile(
    r"(?P<scheme>\b[A-Za-z][\w+.-]{0,40}://)(?P<user>[^\s:/@'\"]{0,200}):(?P<password>[^\s/'\"]{1,500})@"
)
_IN_QUERY = re.compile(
    r"(?P<name>[?&;](?:password|passwd|pwd|token|secret|api_?key|sslpassword)=)(?P<value>[^\s&;'\"]+)", re.IGNORECASE
)


def hidden(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return ``text`` with every secret replaced by ``***``.

    A secret is a password in a URL, a query field of such a name, and the value of an environment variable whose name
    says that it is a key, token or password (``HF_TOKEN``, ``OPENAI_API_KEY``, ``PGPASSWORD``), also percent-encoded.

    Args:
        environment: None for that of the process.
    """
    told = _IN_URL.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    told = _IN_QUERY.sub(rf"\g<name>{HIDDEN}", told)
    known = os.environ if environment is None else environment
    for name, value in known.items():
        if len(value) >= SHORTEST and _NAMES.search(name):
            told = told.replace(value, HIDDEN).replace(unquote(value), HIDDEN)
    return told

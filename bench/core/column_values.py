"""Values of a column as text: 1, 1.0 and «1» are one value, and so are true and «True»."""

import math
import re

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


def number_in(value: object) -> float | None:
    """Return a finite number, also one that is written as a string; None for anything else, and for true and false."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def value_text(value: object) -> str:
    """Return a value as the text that stands for it in an option, in lower case."""
    number = number_in(value)
    if number is not None:
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value).strip().casefold()


def is_absent(value: object) -> bool:
    """Say whether a cell holds nothing: null, NaN, or a blank string."""
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))

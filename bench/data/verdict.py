"""Verdicts on two answers: what a value of a column means, and what several annotators decide."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bench.core.column_values import is_absent, number_in, value_text
from bench.core.data_options import Verdict
from bench.data.row_errors import RowError, shorten

NULL = "null"
"""Name of a map that stands for null and blank cells."""
NEGATIVE, POSITIVE = "negative", "positive"
"""Names of a map that stand for all numbers of one sign that it does not name."""
# What a bare letter may stand behind where it names an answer.
_LETTER = re.compile(
    r"(?:(?:model|response|answer|assistant|output|option|candidate|conversation|completion|system)[ _-]?)?([a-z])"
)
_ORDER = re.compile(r"([a-z])\s*(>{1,2}|<{1,2}|={1,2})\s*([a-z])")
_TIE = re.compile(r"(?:tie|draw|both[ _]?bad)(?:\s*\(.*\))?")
_WORDS = re.compile(r"[^0-9a-z]+")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was decided. ``strength`` is that of a number read by its sign, ``agreement`` the share of the votes."""

    verdict: Verdict
    strength: float | None = None
    agreement: float | None = None


def outcome_of(value: object, meanings: Mapping[str, Verdict], columns: tuple[str, str], name: str) -> Outcome:
    """Return the outcome of one value, or of a list of one value of each annotator.

    Args:
        meanings: what values mean; empty: only values that say it themselves are read.
        columns: what the two answers' columns are called, by which «model_a» or «response_2» is understood.
        name: of the field, for errors.

    Raises RowError for a value that is not known, with the map and what would be right.
    """
    if isinstance(value, list):
        votes = [_one(each, meanings, columns, f"{name}[{index}]") for index, each in enumerate(value)]
        return majority([vote.verdict for vote in votes])
    return _one(value, meanings, columns, name)


def majority(votes: Sequence[Verdict]) -> Outcome:
    """Return what more than half of the votes say, with their share; abstentions («none») are no votes.

    Without such a majority the outcome is a tie where both answers have as many votes, else none.
    """
    counts = Counter(vote for vote in votes if vote != "none")
    total = counts.total()
    for verdict in ("first", "second"):
        if 2 * counts[verdict] > total:
            return Outcome(verdict=verdict, agreement=counts[verdict] / total)
    level = total > 0 and (counts["first"] == counts["second"] or 2 * counts["tie"] > total)
    return Outcome(verdict="tie" if level else "none")


def _one(value: object, meanings: Mapping[str, Verdict], columns: tuple[str, str], name: str) -> Outcome:
    if is_absent(value):
        return Outcome(verdict=meanings.get(NULL, "none"))
    if not meanings:
        return Outcome(verdict=_self_evident(value, columns, name))
    if isinstance(value, bool | int | float | str):
        known = _known(tuple(meanings.items()))
        if (verdict := known.get(value_text(value))) is not None:
            return Outcome(verdict=verdict)
        number = number_in(value)
        if number and (verdict := known.get(NEGATIVE if number < 0 else POSITIVE)) is not None:
            return Outcome(verdict=verdict, strength=abs(number))
    entire = ",".join(f"{key}={meaning}" for key, meaning in meanings.items())
    raise RowError(
        f"field '{name}': {shorten(value)} is not among the values of --winner {entire}",
        fix=f"say what it means too: --winner {entire},{_key(value)}=… with first, second, tie or none (no verdict)",
        kind="unknown verdict",
    )


@lru_cache(maxsize=16)
def _known(meanings: tuple[tuple[str, Verdict], ...]) -> dict[str, Verdict]:
    return {value_text(key): verdict for key, verdict in meanings}


def _self_evident(value: object, columns: tuple[str, str], name: str) -> Verdict:
    """Return the verdict of a text that names an answer by its column or letter; codes and signs are refused."""
    text = value.strip() if isinstance(value, str) else ""
    named: dict[str, Verdict] = {"first": "first", "second": "second", columns[0]: "first", columns[1]: "second"}
    low = text.casefold()
    if text in named and columns[0] != columns[1]:
        return named[text]
    if _TIE.fullmatch(low):
        return "tie"
    letters = _letters(columns)
    if letters is not None:
        if match := _LETTER.fullmatch(low):
            if match[1] in letters:
                return letters[match[1]]
        elif (match := _ORDER.fullmatch(low)) and {match[1], match[3]} == letters.keys():
            return "tie" if "=" in match[2] else letters[match[1] if ">" in match[2] else match[3]]
    raise RowError(
        f"field '{name}': {shorten(value)} does not say by itself which answer is better, {columns[0]} or {columns[1]}",
        fix="say what each value means, as the data set's card has it: --winner VALUE=first,VALUE=second,VALUE=tie "
        "(negative=…,positive=… for numbers by their sign)",
        kind="unknown verdict",
    )


@lru_cache(maxsize=16)
def _letters(columns: tuple[str, str]) -> dict[str, Verdict] | None:
    """Return the letter by which each of two columns is called, as «a» and «b» of response_a and response_b."""
    words = (_WORDS.split(column.casefold()) for column in columns)
    one, two = ({word for word in each if len(word) == 1 and word.isalpha()} for each in words)
    first, second = one - two, two - one
    return {first.pop(): "first", second.pop(): "second"} if len(first) == len(second) == 1 else None


def _key(value: object) -> str:
    return value_text(value) if isinstance(value, bool | int | float | str) else shorten(value)

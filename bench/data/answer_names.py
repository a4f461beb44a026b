"""Names of columns that hold answers in no order, and the option that such columns need."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from bench.core.column_values import is_absent
from bench.data.row_errors import RowError, shorten
from bench.data.rows import ACCEPTED

VERDICT_NAMES = frozenset(
    (
        "winner", "label", "labels", "preference", "preferred", "preference_strength", "overall_preference", "choice",
        "vote", "verdict", "better", "better_response_id", "annotator1",
    )
)  # fmt: skip
"""What published sets call the column that says which of two answers is better."""
_COUNTED = re.compile(r"(?:(?<=[^0-9A-Za-z])|^|(?<=[a-z]))(?:[ABab]|[0-9])(?=$|[^0-9A-Za-z])")
_ONE_ANSWER = ("response", "completion", "output", "answer", "generation")
_BY_HAND = "--winner VALUE=first,VALUE=second says what its values mean (docs/verdicts.md)"


@lru_cache(maxsize=64)
def counted_pair(names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return two names that differ only in a letter or digit that counts, as answer_a and answer_b; None for none."""
    return next(iter(_counted_pairs(names)), None)


def _counted_pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    stems: dict[str, str] = {}
    for name in names:
        stem = _COUNTED.sub("*", name, count=1)
        if stem != name and stem in stems:
            yield stems[stem], name
        stems.setdefault(stem, name)


def mapping_hint(raw: Mapping[str, object]) -> str:
    """Return what would make pairs of a row that no format fits; no order is assumed that the row does not state."""
    lengths = {name: len(str(value)) for name, value in raw.items() if isinstance(value, str | list) and value}
    # Of model_a, model_b and answer_a, answer_b the longer two are the answers.
    pair = max(_counted_pairs(lengths), key=lambda two: lengths[two[0]] + lengths[two[1]], default=None)
    if pair is not None:
        return (
            f"--columns prompt=NAME,first={pair[0]},second={pair[1]},winner=NAME with the column that says which is "
            f"better, and {_BY_HAND}; or first_score=NAME,second_score=NAME"
        )
    rated = any(isinstance(value, int | float) and not isinstance(value, bool) for value in raw.values())
    if rated and any(name in raw for name in _ONE_ANSWER):
        return (
            "a row holds one answer: write the answers to a prompt into one row, each with its score, "
            '{"prompt": …, "completions": [{"response": …, "score": …}, …]}'
        )
    return (
        f"{ACCEPTED}; --columns prompt=NAME,chosen=NAME,rejected=NAME, where one column always holds the better "
        f"answer, or prompt=NAME,first=NAME,second=NAME,winner=NAME, where another column says it: {_BY_HAND}"
    )


def refuse_unread_verdict(raw: Mapping[str, object], columns: Mapping[str, str]) -> None:
    """Raise RowError where ``chosen`` and ``rejected`` are taken from answer_a and answer_b beside a verdict."""
    better, worse = columns.get("chosen"), columns.get("rejected")
    if better is None or worse is None or counted_pair((better, worse)) is None:
        return
    mapped = columns.values()
    name = next(
        (each for each in raw if each in VERDICT_NAMES and each not in mapped and not is_absent(raw[each])), None
    )
    if name is not None:
        raise RowError(
            f"field '{name}': {shorten(raw[name])} may say which of '{better}' and '{worse}' is better, and "
            f"--columns chosen={better} takes the same one of every row",
            fix=f"--columns first={better},second={worse},winner={name}, and {_BY_HAND}; leave the column out of the "
            "file if it says something else",
            kind="unread verdict",
        )

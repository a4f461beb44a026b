"""Reader of the plain format: prompt with chosen and rejected, or with completion and label."""

from collections.abc import Iterator, Mapping

from bench.core.data_options import DataOptions
from bench.data.answer_names import mapping_hint
from bench.data.readers.answer_index import refuse_index
from bench.data.row_errors import RowError, listed
from bench.data.rows import (
    ACCEPTED,
    TIE,
    Dropped,
    Pair,
    Single,
    label_of,
    make_pair,
    make_single,
    required,
    scores_of,
    text_of,
)
from bench.data.side_names import SIDES

SCORES = (("chosen_score", "rejected_score"), ("score_chosen", "score_rejected"))
RATINGS = (
    *SCORES,
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)
"""What distilabel and Argilla call the scores, too. Rows of chosen and rejected strings are read by SCORES alone."""


def sides_of(raw: Mapping[str, object]) -> tuple[str, str]:
    """Return what a row calls the preferred answer and the other one, which is chosen and rejected where in doubt."""
    if any(raw.get(name) is not None for name in SIDES[0]):
        return SIDES[0]
    return next((names for names in SIDES if all(name in raw for name in names)), SIDES[0])


def names_of_scores(sides: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what the scores of answers by these names may be called."""
    return SCORES if sides == SIDES[0] else RATINGS


def read(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Single | Dropped]:
    """Yield the row: a pair, or a single completion.

    ``null`` counts as missing. ``score_chosen`` and
    ``score_rejected``, as UltraFeedback spells them, are read as ``chosen_score`` and ``rejected_score``. The answers
    may be called as in SIDES. A pair whose ``status`` is «tie» is none, as in distilabel's sets.
    """
    sides = sides_of(raw)
    paired = any(raw.get(name) is not None for name in sides)
    single = any(raw.get(name) is not None for name in ("completion", "label"))
    if raw.get("prompt") is None or not (paired or single):
        refuse(raw)
    if paired and single:
        columns = sorted(name for name, value in raw.items() if value is not None)
        raise RowError(
            f"the row has fields of both formats ({listed(columns)})",
            fix="leave either chosen and rejected, or completion and label; --set data.ignore=label passes over a "
            "label if the pairs are right without it",
        )
    prompt = text_of(raw["prompt"], "prompt")
    if single:
        answer = required(raw, "completion")
        yield make_single(prompt, ("completion", answer), label=label_of(raw), row=row)
        return
    if raw.get("status") == TIE:
        yield Dropped(reason=TIE)
        return
    chosen, rejected = ((name, required(raw, name)) for name in sides)
    refuse_index(raw, chosen, rejected)
    yield make_pair(prompt, chosen, rejected, scores=scores_of(raw, names_of_scores(sides)), row=row)


def refuse(raw: Mapping[str, object]) -> None:
    """Raise RowError for a row whose columns make no known format."""
    fields = {name for name, value in raw.items() if value is not None}
    columns = f"columns found: {listed(raw) or 'none'}"
    if "prompt" not in fields and fields == {"text"}:
        raise RowError(
            f"field 'prompt' is missing; {columns}, which looks like the plain text format",
            fix=f"it holds text, no preferences; {ACCEPTED}",
        )
    if "prompt" not in fields:
        raise RowError(
            f"field 'prompt' is missing ({columns})",
            fix=mapping_hint(raw),
        )
    raise RowError(
        f"fields 'chosen' and 'rejected', or 'completion' and 'label', are missing ({columns})", fix=mapping_hint(raw)
    )

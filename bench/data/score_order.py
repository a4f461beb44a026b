"""Scores against the order of a pair: which of two is better, and what becomes of a pair that its scores contradict."""

from collections.abc import Mapping
from dataclasses import replace

from bench.core.column_values import is_absent, number_in
from bench.core.data_options import DataOptions
from bench.data.mapped_columns import unnoted
from bench.data.row_errors import RowError, shorten
from bench.data.rows import Dropped, Pair, Single

AGREEMENT = "agreement"
"""The column, and the value of ``data.score``: the share of the votes that the chosen answer got."""
REVERSED = "reversed scores"


def in_order(
    example: Pair | Single | Dropped, fields: Mapping[str, object], options: DataOptions, *, decided_by_scores: bool
) -> Pair | Single | Dropped:
    """Return a pair with its share of votes and its scores, higher being better; as ``options`` say where reversed.

    ``decided_by_scores``: a format whose reader has compared the scores itself, and turned lower ones round.

    Raises:
        RowError: the rejected answer has the better score, and ``options`` do not say what becomes of such pairs; or
            shares of votes are to be the scores and the row has none.
    """
    if not isinstance(example, Pair):
        return example
    pair = _with_shares(example, fields, options)
    if options.better == "lower" and not decided_by_scores and options.score != AGREEMENT:
        pair = _scored(pair, _negative(pair.chosen_score), _negative(pair.rejected_score))
    high, low = pair.chosen_score, pair.rejected_score
    if high is None or low is None or high >= low or options.reversed == "keep":
        return pair
    if options.reversed == "drop":
        return Dropped(reason=REVERSED)
    if options.reversed == "swap":
        share = None if pair.agreement is None else 1 - pair.agreement
        turned = replace(pair, chosen=pair.rejected, rejected=pair.chosen, agreement=share)
        return _scored(turned, low, high)
    raise RowError(
        f"the scores contradict the order: the rejected answer has {low:g}, the chosen one {high:g}",
        fix="say which is right: --set data.reversed=keep (the order), swap (the scores) or drop (such rows are left "
        "out); --set data.better=lower where a lower score is better",
        kind="reversed scores",
    )


def _with_shares(pair: Pair, fields: Mapping[str, object], options: DataOptions) -> Pair:
    share = pair.agreement
    if share is None and AGREEMENT in fields:
        stated = unnoted(fields)[AGREEMENT]
        share = number_in(stated)
        if share is not None and not 0 <= share <= 1:
            share = None
        # A column of that name may be about something else, unless the user named it.
        if share is None and AGREEMENT in options.columns and not is_absent(stated):
            raise RowError(
                f"field '{options.columns[AGREEMENT]}': {shorten(stated)} is no share of votes",
                fix="write a number from 0 to 1, or leave agreement out of --columns",
            )
        if share is not None or AGREEMENT in options.columns:
            pair = replace(pair, agreement=share if fields[AGREEMENT] is not None else None)
    if options.score != AGREEMENT:
        return pair
    if share is None:
        raise RowError(
            "data.score=agreement takes the shares of votes for the scores, and the row has none",
            fix="map several verdicts to winner (--columns winner=NAME+NAME+NAME), or give a column agreement, 0 to 1",
        )
    return _scored(pair, share, 1 - share)


def _scored(pair: Pair, chosen: float | None, rejected: float | None) -> Pair:
    return replace(pair, chosen_score=chosen, rejected_score=rejected)


def _negative(score: float | None) -> float | None:
    return None if score is None else -score

"""Length limits of encoded rows: refusal, truncation, and the numbering of prompts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from bench.data.row_ids import RowIds
from bench.data.template import Tokenizer
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, Ids, encoded_of
from bench.errors import UsageError, did_you_mean

OnLong = Literal["error", "truncate_completion"]
_ON_LONG = ("error", "truncate_completion")


@dataclass(frozen=True, kw_only=True)
class RowLimits:
    """Limits of a row in tokens, and what is done with one that is too long."""

    max_length: int
    max_prompt_length: int | None
    on_long: OnLong

    def __post_init__(self) -> None:
        if self.on_long not in _ON_LONG:
            raise UsageError(f"unknown on_long={self.on_long!r}", fix=did_you_mean(self.on_long, _ON_LONG))
        if self.max_length < 2 or (self.max_prompt_length is not None and self.max_prompt_length < 1):
            limits = f"max_length={self.max_length}, max_prompt_length={self.max_prompt_length}"
            raise UsageError(
                f"max_length must be at least 2 tokens, and max_prompt_length at least 1 (got {limits})",
                fix="raise the limits",
            )


def truncate(
    rows: Iterable[RowIds],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    max_prompt_length: int | None,
    on_long: OnLong,
) -> Encoded:
    """Return the rows, all pairs or all single, with completions cut to what ``max_length`` leaves after the prompt.

    Raises UsageError for prompts that are too long or of no token, for rows that are too long where nothing may be cut,
    and for a pair whose completions do not differ (any more).
    """
    limits = RowLimits(max_length=max_length, max_prompt_length=max_prompt_length, on_long=on_long)
    all_rows = list(rows)
    refuse_long_prompts(np.array([len(row.prompt) for row in all_rows]), lambda row: all_rows[row].where, limits)
    groups: dict[Ids, int] = {}
    pairs: list[EncodedPair] = []
    singles: list[EncodedSingle] = []
    for row in all_rows:
        completions = _cut(row, limits)
        group = groups.setdefault(row.prompt, len(groups))
        if row.label is None:
            chosen, rejected = completions["chosen"], completions["rejected"]
            pairs.append(
                EncodedPair(
                    prompt_ids=row.prompt,
                    chosen_ids=chosen,
                    rejected_ids=rejected,
                    score_gap=row.score_gap,
                    group=group,
                )
            )
        else:
            ids = completions["completion"]
            singles.append(EncodedSingle(prompt_ids=row.prompt, completion_ids=ids, desirable=row.label, group=group))
    eos = cast(int, tokenizer.eos_token_id)
    pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if singles:
        return encoded_of(singles, kind="unpaired", eos_id=eos, pad_id=pad)
    return encoded_of(pairs, kind="pairs", eos_id=eos, pad_id=pad)


def refuse_long_prompts(lengths: NDArray[np.int64], where: Callable[[int], str], limits: RowLimits) -> None:
    """Raise UsageError for a prompt without a token, or with more than ``limits`` leave; ``where`` names a row."""
    if not lengths.all():
        raise UsageError(
            f"{where(int(np.argmin(lengths)))}, field 'prompt': it has no token, so nothing predicts the completion's "
            "first one",
            fix="give a prompt, or use a tokenizer with a BOS token",
        )
    limit = limits.max_length - 1
    reason = f"max_length={limits.max_length} leaves at most {limit} for a prompt, so that a completion has one"
    if limits.max_prompt_length is not None and limits.max_prompt_length < limit:
        limit, reason = limits.max_prompt_length, f"max_prompt_length={limits.max_prompt_length} is the limit"
    long = np.flatnonzero(lengths > limit)
    if len(long):
        first, longest = int(long[0]), int(lengths.max())
        several = f" ({len(long)} prompts are too long, the longest has {longest})" if len(long) > 1 else ""
        raise UsageError(
            f"{where(first)}, field 'prompt': {lengths[first]} tokens, but {reason}{several}",
            fix="raise the limit as far as the model's context goes, or remove these rows: --set "
            f"data.max_prompt_tokens={limit} leaves them out (prompts are never cut)",
        )


def refuse_cut(row: RowIds, limits: RowLimits) -> None:
    """Raise UsageError for a row that is too long to be cut, or whose completions are equal once cut."""
    _cut(row, limits)


def _cut(row: RowIds, limits: RowLimits) -> dict[str, Ids]:
    max_length = limits.max_length
    room = max_length - len(row.prompt)
    for name, ids in row.completions.items():
        if len(ids) > room and limits.on_long == "error":
            raise UsageError(
                f"{row.where}, field '{name}': {len(ids)} tokens after a prompt of {len(row.prompt)} make "
                f"{len(row.prompt) + len(ids)}, but max_length is {max_length}",
                fix='raise max_length, remove the row, or cut completions with on_long="truncate_completion"',
            )
    cut = {name: ids[:room] for name, ids in row.completions.items()}
    if row.label is None and cut["chosen"] == cut["rejected"]:
        same = row.completions["chosen"] == row.completions["rejected"]
        problem = (
            "it has the same token ids as 'chosen'"
            if same
            else f"cut to the {room} tokens that max_length={max_length} leaves, it is equal to 'chosen'"
        )
        fix = "remove the row" if same else "raise max_length, or remove the row"
        raise UsageError(f"{row.where}, field 'rejected': {problem}", fix=fix)
    return cut

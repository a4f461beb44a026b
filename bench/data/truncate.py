"""Length limits of encoded rows: refusal, truncation, and the numbering of prompts."""

from collections.abc import Iterable, Sequence
from typing import Literal, cast

from bench.data.row_ids import RowIds
from bench.data.template import Tokenizer
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, Ids, encoded_of
from bench.errors import UsageError, did_you_mean

OnLong = Literal["error", "truncate_completion"]
_ON_LONG = ("error", "truncate_completion")


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
    if on_long not in _ON_LONG:
        raise UsageError(f"unknown on_long={on_long!r}", fix=did_you_mean(on_long, _ON_LONG))
    if max_length < 2 or (max_prompt_length is not None and max_prompt_length < 1):
        limits = f"max_length={max_length}, max_prompt_length={max_prompt_length}"
        raise UsageError(
            f"max_length must be at least 2 tokens, and max_prompt_length at least 1 (got {limits})",
            fix="raise the limits",
        )
    all_rows = list(rows)
    _check_prompts(all_rows, max_length=max_length, max_prompt_length=max_prompt_length)
    groups: dict[Ids, int] = {}
    pairs: list[EncodedPair] = []
    singles: list[EncodedSingle] = []
    for row in all_rows:
        completions = _cut(row, max_length=max_length, on_long=on_long)
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


def _check_prompts(rows: Sequence[RowIds], *, max_length: int, max_prompt_length: int | None) -> None:
    bare = next((row for row in rows if not row.prompt), None)
    if bare is not None:
        raise UsageError(
            f"{bare.where}, field 'prompt': it has no token, so nothing predicts the completion's first one",
            fix="give a prompt, or use a tokenizer with a BOS token",
        )
    limit = max_length - 1
    reason = f"max_length={max_length} leaves at most {limit} for a prompt, so that a completion has one"
    if max_prompt_length is not None and max_prompt_length < limit:
        limit, reason = max_prompt_length, f"max_prompt_length={max_prompt_length} is the limit"
    long = [row for row in rows if len(row.prompt) > limit]
    if long:
        longest = max(len(row.prompt) for row in long)
        several = f" ({len(long)} prompts are too long, the longest has {longest})" if len(long) > 1 else ""
        raise UsageError(
            f"{long[0].where}, field 'prompt': {len(long[0].prompt)} tokens, but {reason}{several}",
            fix="raise the limit as far as the model's context goes, or remove these rows: --set "
            f"data.max_prompt_tokens={limit} leaves them out (prompts are never cut)",
        )


def _cut(row: RowIds, *, max_length: int, on_long: OnLong) -> dict[str, Ids]:
    room = max_length - len(row.prompt)
    for name, ids in row.completions.items():
        if len(ids) > room and on_long == "error":
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

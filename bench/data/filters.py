"""Filters of preference rows: form, limits and duplicates."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.digests import digests, first_seen
from bench.data.near_duplicates import near_duplicates
from bench.data.row_errors import RowError
from bench.data.rows import Message, Pair, Single, Text

PreferenceRow = Pair | Single
_LIMITS = (
    "min_prompt_characters",
    "max_prompt_characters",
    "min_answer_characters",
    "max_answer_characters",
    "drop_ties",
    "min_margin",
)


def in_form(row: PreferenceRow, form: Literal["auto", "messages", "text"]) -> PreferenceRow:
    """Return the row with strings as a turn of the user and the answer, or a single turn's messages as strings.

    Raises RowError for messages of several turns that are to be text: only a chat template can say how.
    """
    if form == "auto" or isinstance(row.prompt, str) == (form == "text"):
        return row
    prompt = _as_text(row.prompt) if form == "text" else _as_messages(row.prompt, "user")
    if isinstance(row, Single):
        return replace(row, prompt=prompt, completion=_answer(row.completion, form))
    return replace(row, prompt=prompt, chosen=_answer(row.chosen, form), rejected=_answer(row.rejected, form))


def plain_text(text: Text) -> str:
    """Return the words of a prompt or an answer: the turns of messages one below the other."""
    return text if isinstance(text, str) else "\n".join(each["content"] for each in text)


def answers(row: PreferenceRow) -> tuple[str, ...]:
    """Return the words of the row's completions, the chosen one first."""
    return (
        (plain_text(row.completion),) if isinstance(row, Single) else (plain_text(row.chosen), plain_text(row.rejected))
    )


def filtered(rows: Sequence[PreferenceRow], options: DataOptions) -> tuple[list[PreferenceRow], Counter[str]]:
    """Return the rows that are within the limits, and how many were left out by which limit."""
    if all(getattr(options, name) == getattr(AS_IT_IS, name) for name in _LIMITS):
        return list(rows), Counter()
    kept, dropped = [], Counter[str]()
    for row in rows:
        reason = _outside(row, options)
        if reason is None:
            kept.append(row)
        else:
            dropped[reason] += 1
    return kept, dropped


def without_duplicates(
    rows: Sequence[PreferenceRow], options: DataOptions
) -> tuple[Sequence[PreferenceRow], Counter[str]]:
    """Return the rows without later ones of the same prompt and answers, and without near prompts if that is wanted."""
    if options.duplicates == "keep":
        return rows, Counter()
    _, firsts = first_seen(digests(content_key(row).encode() for row in rows))
    dropped = Counter({"duplicate": len(rows) - len(firsts)})
    kept = picked(rows, firsts)
    if options.duplicates == "drop_near":
        near = near_duplicates((plain_text(row.prompt) for row in kept), share=options.near)
        dropped["near duplicate"] = len(near)
        kept = picked(kept, [place for place in range(len(kept)) if place not in near])
    return kept, +dropped


def picked(rows: Sequence[PreferenceRow], places: Iterable[int]) -> Sequence[PreferenceRow]:
    """Return the rows at these places (from 0), in this order; rows that lie on disk stay there."""
    take: Callable[[list[int]], Sequence[PreferenceRow]] | None = getattr(rows, "take", None)
    chosen = [int(place) for place in places]
    return [rows[place] for place in chosen] if take is None else take(chosen)


def content_key(row: PreferenceRow) -> str:
    """Return what two rows that say the same have in common: prompt, answers and label; scores may differ."""
    parts = (row.completion, row.label) if isinstance(row, Single) else (row.chosen, row.rejected)
    return json.dumps([row.prompt, *parts], sort_keys=True)


def margin(row: PreferenceRow) -> float | None:
    """Return the chosen score less the rejected one, None where there is none."""
    if isinstance(row, Single) or row.chosen_score is None or row.rejected_score is None:
        return None
    return row.chosen_score - row.rejected_score


def _outside(row: PreferenceRow, options: DataOptions) -> str | None:
    prompt = len(plain_text(row.prompt))
    lengths = [len(answer) for answer in answers(row)]
    gap = margin(row)
    limits = (
        (prompt < options.min_prompt_characters, "prompt too short"),
        (prompt > (options.max_prompt_characters or prompt), "prompt too long"),
        (min(lengths) < options.min_answer_characters, "answer too short"),
        (max(lengths) > (options.max_answer_characters or max(lengths)), "answer too long"),
        (options.drop_ties and gap == 0, "tie"),
        (options.min_margin is not None and gap is not None and gap < options.min_margin, "margin too small"),
    )
    return next((reason for outside, reason in limits if outside), None)


def _as_text(text: Text) -> str:
    if isinstance(text, str):
        return text
    roles = [each["role"] for each in text]
    if roles[-1] != "user" or roles[:-1] not in ([], ["system"], ["developer"]):
        raise RowError(
            f"the prompt's messages are of {', '.join(roles)}, which data.form=text cannot write as one string",
            fix="--set data.form=auto with a model that has a chat template; text is for prompts of a single turn",
        )
    return "\n\n".join(each["content"] for each in text)


def _as_messages(text: Text, role: str) -> tuple[Message, ...]:
    return ({"role": role, "content": text},) if isinstance(text, str) else text


def _answer(text: Text, form: str) -> Text:
    return plain_text(text) if form == "text" else _as_messages(text, "assistant")

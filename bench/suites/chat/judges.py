"""Judges of the chat suite, made from their names, and the target that the first of them allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.core.artifacts import Note, silent
from bench.data.stored_tokens import TokenRows
from bench.data.tokens import Encoded, encoded_of, pairs_in, singles_in
from bench.errors import UsageError
from bench.evaluate.judges.base import Judge
from bench.evaluate.judges.bradley_terry import LabelledAnswers, fitted_judge
from bench.evaluate.judges.checks import SAMPLE, check_window
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of, judges_of
from bench.suites.chat.held_out import EvaluationPrompts, answer_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_FITTED = 20_000
"""Rows that the fitted judge of data on disk is fitted on: a reward of words does not get better by more."""
Target = Literal["reward", "win_rate", "auto"]


def make_judges(
    names: Sequence[str],
    *,
    model: Path,
    train: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    source: str,
    note: Note = silent,
) -> tuple[Judge, ...]:
    """Make judges from their names: ``fitted``, ``start``, or the forms of ``bench evaluate --judge``.

    Raises:
        UsageError: no judge, one that cannot be made, or two of one name.
    """
    if not names:
        raise UsageError("there is no judge", fix="--judge fitted")
    special = {
        "fitted": lambda: fitted_judge(_labelled(_fitting(train, note), tokenizer), source=source),
        "start": lambda: judge_of(JudgeSpec(kind="lm", folder=model, name="start")),
    }
    return tuple(judges_of(names, special=special))


def target_of(requested: Target, judges: Sequence[Judge]) -> Target:
    """Return the requested target; for ``auto`` J where the first judge gives rewards, else its win rate.

    Without a price of KL, a reward grows for as long as the policy drifts, and so does a win rate by that reward.

    Raises:
        UsageError: rewards are requested, and the first judge only compares.
    """
    rewards = judges[0].score is not None
    if requested == "auto":
        return "reward" if rewards else "win_rate"
    if requested == "reward" and not rewards:
        raise UsageError(
            f"evaluation.target=reward: judge {judges[0].name} compares answers and gives none a reward",
            fix="--set evaluation.target=win_rate, or --judge fitted first",
        )
    return requested


def check_judges(
    judges: Sequence[Judge],
    prompts: Sequence[EvaluationPrompts],
    *,
    tokens: int,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Raise UsageError where a judge's context is too short for a prompt with the longest answers.

    Args:
        tokens: of the longest answer, as ``tokenizer`` counts them.
    """
    instructions = list(dict.fromkeys(text for each in prompts for text in each.instructions))
    answers = [pair.first for each in prompts for pair in each.held_out][:SAMPLE]
    lengths = [len(ids) for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]] if answers else []
    for judge in judges:
        if judge.window is None and judge.find_window is not None:
            judge = replace(judge, window=judge.find_window())
        check_window(judge, instructions, tokens=tokens, answers=answers, lengths=lengths)


def _fitting(train: Encoded, note: Note) -> Encoded:
    """Return the rows that the fitted judge is fitted on: all, but of data on disk some, evenly spaced."""
    if not isinstance(train.rows, TokenRows) or len(train.rows) <= MOST_FITTED:
        return train
    note(f"judge fitted: fitted on {MOST_FITTED:,} of {len(train.rows):,} rows, evenly spaced")
    places = np.linspace(0, len(train.rows) - 1, MOST_FITTED).astype(np.int64)
    rows = tuple(train.rows.take(places))
    return encoded_of(rows, kind=train.kind, eos_id=train.eos_id, pad_id=train.pad_id)


def _labelled(train: Encoded, tokenizer: PreTrainedTokenizerBase) -> LabelledAnswers:
    pairs, singles = pairs_in(train.rows), singles_in(train.rows)
    if pairs:
        return LabelledAnswers(
            prompts=[pair.group for pair in pairs],
            better=answer_texts([pair.chosen_ids for pair in pairs], tokenizer),
            worse=answer_texts([pair.rejected_ids for pair in pairs], tokenizer),
        )
    return LabelledAnswers(
        prompts=[single.group for single in singles],
        better=answer_texts([single.completion_ids for single in singles], tokenizer),
        desirable=[single.desirable for single in singles],
    )

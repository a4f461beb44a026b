"""What is wrong with answers or judges before anything is asked: names, unmatched questions, and what does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.errors import UsageError
from bench.evaluate.judges.answers import Answers, PairedAnswers, without_spaces
from bench.evaluate.judges.base import AnswerPair, Judge

SAMPLE = 64
"""Answers by which a judge's tokens are compared with a policy's."""


def notes_on_answers(answers: Answers, baseline: Answers, pairs: PairedAnswers) -> Iterator[str]:
    """Yield what to know of a model's answers beside the baseline's, before a judge sees them."""
    if answers.model == baseline.model:
        yield (
            f"{answers.model}: called like the baseline; alpaca-eval's length control gives 50.00 ± 0.00 for that "
            "name, whatever the answers are: name it apart in the field generator"
        )
    if pairs.left_out:
        yield f"{answers.model}: {_unmatched(answers, baseline, pairs)}"
    if len(pairs.outputs) == 1:
        yield f"{answers.model}: one question: its rate will have no standard error and no interval"


def _unmatched(answers: Answers, baseline: Answers, pairs: PairedAnswers) -> str:
    """Return how many questions only one side has, and an example of two that differ in spaces or case alone."""
    known = set(pairs.instructions)
    mine = [text for text in answers.instructions if text not in known]
    theirs = [text for text in baseline.instructions if text not in known]
    near = {without_spaces(text): text for text in theirs}
    alike = [(text, near[without_spaces(text)]) for text in mine if without_spaces(text) in near]
    counts = (
        f"{pairs.left_out} answers have no partner and are left out: {len(answers.outputs) - len(pairs.outputs)} of "
        f"its own, {len(baseline.outputs) - len(pairs.outputs)} of the baseline {baseline.model}"
    )
    if not alike:
        return counts
    one, other = alike[0]
    return (
        f"{counts}; {len(alike)} instructions differ in spaces or case alone, e.g. {_cut(one)!r} and {_cut(other)!r}: "
        "alpaca-eval leaves these out, too"
    )


def notes_on_length(judge: Judge, queries: Sequence[AnswerPair]) -> Iterator[str]:
    """Yield how many pairs do not fit a judge's context, where it is known."""
    if judge.window is None or not math.isfinite(judge.window.context):
        return
    taken = [judge.window.tokens(pair) for pair in queries]
    long = sum(tokens > judge.window.context for tokens in taken)
    if long:
        yield (
            f"{judge.name}: {long} of {len(queries)} comparisons do not fit its context of "
            f"{judge.window.context:g} tokens (the longest takes {max(taken)}): they will have no verdict"
        )


def check_window(
    judge: Judge, instructions: Sequence[str], *, tokens: int, answers: Sequence[str], lengths: Sequence[int]
) -> None:
    """Raise UsageError where a judge's context is too short for the longest prompt with the longest answers.

    Args:
        tokens: of the longest answer, as the policy counts them.
        answers, lengths: some answers and how many tokens the policy has for each, by which its tokens are turned into
            the judge's.
    """
    window = judge.window
    if window is None or not math.isfinite(window.context) or not instructions:
        return
    alone = {text: window.tokens(AnswerPair(instruction=text, first="", second="")) for text in instructions}
    longest = max(alone.values())
    each = math.ceil(tokens * _tokens_each(judge, instructions[0], answers[:SAMPLE], lengths[:SAMPLE]))
    if longest + window.answers * each <= window.context:
        return
    room = math.floor((window.context - longest) / window.answers * tokens / each)
    what = "an answer" if window.answers == 1 else f"{window.answers} answers"
    fits = f"--set evaluation.tokens={room}, " if room > 0 else ""
    raise UsageError(
        f"judge {judge.name}: the longest prompt takes {longest} of its tokens, its own words included, and {what} of "
        f"{tokens} tokens up to {window.answers * each} more; its context has {window.context:g}",
        fix=f"{fits}shorter prompts, or a judge of more context (--judge fitted reads texts of any length)",
    )


def _tokens_each(judge: Judge, instruction: str, answers: Sequence[str], lengths: Sequence[int]) -> float:
    """Return how many tokens the judge has for one of the policy's, 1 where that is not known."""
    assert judge.window is not None
    if not sum(lengths):
        return 1.0
    alone = judge.window.tokens(AnswerPair(instruction=instruction, first="", second=""))
    taken = [
        judge.window.tokens(AnswerPair(instruction=instruction, first=text, second="")) - alone for text in answers
    ]
    share = sum(taken) / sum(lengths)
    return 1.0 if abs(share - 1.0) < 0.05 else share


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:30]} … {text[-26:]}"

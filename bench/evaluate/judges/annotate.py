"""Annotation of a model's answers against a baseline's by a judge: order, cache of verdicts, and position bias."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.evaluate.judges.answers import PairedAnswers
from bench.evaluate.judges.base import AnswerPair, Judge, Messages, Outcome, Verdict
from bench.evaluate.judges.cache import key_of, read_verdict, store_verdict
from bench.evaluate.judges.judgements import Judgements, distinct_texts

Query = TypeVar("Query", AnswerPair, Messages)
FIRST = ("baseline", "model")
"""Whose answer is shown first: the place in a question's verdicts."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One question judged. ``preference``: probability that the model's answer is better, None without a verdict.

    ``verdicts``: verdicts by who was shown first (``baseline``, ``model``).
    """

    index: int
    instruction: str
    output: str
    reference: str
    preference: float | None
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True, kw_only=True)
class Bias:
    """How often the answer shown first wins, in percent (50: no bias), over ``n`` verdicts, with standard error.

    ``turned``: share of questions judged in both orders whose winner changed with the order; NaN where none was.
    """

    first: float
    stderr: float
    n: int
    turned: float


def orders(pairs: PairedAnswers, *, ordered: bool, both: bool, seed: int) -> list[tuple[str, ...]]:
    """Return who is shown first in each question: a coin by seed and content, so that a question's order depends on
    nothing but itself; both on request; the baseline where the order cannot matter."""
    if not ordered:
        return [FIRST[:1]] * len(pairs.outputs)
    if both:
        return [FIRST] * len(pairs.outputs)
    return [
        (FIRST[_coin(seed, *texts)],) for texts in zip(pairs.instructions, pairs.outputs, pairs.references, strict=True)
    ]


def to_ask(judge: Judge, pairs: PairedAnswers, *, both: bool, seed: int) -> list[tuple[int, str, AnswerPair]]:
    """Return (row, who is first, what is shown) of all that ``judge`` must be shown; equal answers are ties unasked."""
    queries = []
    for row, firsts in enumerate(orders(pairs, ordered=judge.ordered, both=both, seed=seed)):
        if pairs.outputs[row] == pairs.references[row]:
            continue
        for first in firsts:
            texts = (pairs.references[row], pairs.outputs[row])
            first_text, second_text = texts if first == "baseline" else texts[::-1]
            pair = AnswerPair(instruction=pairs.instructions[row], first=first_text, second=second_text)
            queries.append((row, first, pair))
    return queries


def annotate(
    judge: Judge,
    pairs: PairedAnswers,
    *,
    both: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Annotation]:
    """Ask ``judge`` about every question and return its annotations in the questions' order.

    Args:
        both: ask in both orders, and take the mean; without one of the two there is no verdict.
        cache: folder of earlier verdicts. New ones are kept there as they come.
        progress: called with how many of how many are done.

    Raises:
        RunError: the judge stopped answering (earlier verdicts are in ``cache``).
    """
    wanted = to_ask(judge, pairs, both=both, seed=seed)
    verdicts: list[dict[str, Verdict]] = [{} for _ in pairs.outputs]
    queries = [pair for _, _, pair in wanted]
    for done, (number, verdict) in enumerate(cached_verdicts(judge.compare, judge.identity, queries, cache=cache), 1):
        row, first, _ = wanted[number]
        verdicts[row][first] = verdict
        if progress is not None:
            progress(done, len(wanted))
    return [_annotation(pairs, row, by_first) for row, by_first in enumerate(verdicts)]


def cached_verdicts(
    ask: Callable[[Sequence[Query]], Iterator[tuple[int, Verdict]]],
    identity: str,
    queries: Sequence[Query],
    *,
    cache: Path | None,
) -> Iterator[tuple[int, Verdict]]:
    """Yield the kept verdicts, then new ones as they come, and keep these. Equal queries are sent once."""
    keys = [key_of(identity, one) for one in queries]
    new: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        known = read_verdict(cache, key) if cache is not None else None
        if known is not None:
            yield number, known
        else:
            new.setdefault(key, []).append(number)
    distinct = list(new.values())
    for index, verdict in ask([queries[numbers[0]] for numbers in distinct]) if distinct else ():
        if cache is not None:
            store_verdict(cache, keys[distinct[index][0]], verdict)
        for number in distinct[index]:
            yield number, verdict


def uncached(judge: Judge, queries: Sequence[AnswerPair], *, cache: Path | None) -> list[AnswerPair]:
    """Return what is not in the cache, once each: what asking would cost."""
    distinct = {key_of(judge.identity, pair): pair for pair in queries}
    return [pair for key, pair in distinct.items() if cache is None or read_verdict(cache, key) is None]


def position_bias(annotations: Iterable[Annotation]) -> Bias:
    """Return how often the answer shown first wins, over all verdicts of a judge for whom the order can matter."""
    annotations = list(annotations)
    values = np.array(
        [
            verdict.first_better
            for one in annotations
            for verdict in one.verdicts.values()
            if verdict.first_better is not None
        ]
    )
    both = [tuple(one.verdicts[first].first_better for first in FIRST) for one in annotations if len(one.verdicts) == 2]
    decided = [(a, b) for a, b in both if a is not None and b is not None and 0.5 not in (a, b)]
    return Bias(
        first=100.0 * float(values.mean()) if len(values) else math.nan,
        stderr=100.0 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan,
        n=len(values),
        # the same place won in both orders: another answer each time
        turned=float(np.mean([(a > 0.5) == (b > 0.5) for a, b in decided])) if decided else math.nan,
    )


def outcomes(annotations: Iterable[Annotation]) -> Counter[Outcome]:
    """Return how many verdicts were judged, refused, malformed and failed."""
    return Counter(verdict.outcome for one in annotations for verdict in one.verdicts.values())


def judgements_of(annotations: Sequence[Annotation], *, judge: str, model: str, baseline: str) -> Judgements:
    """Return annotations as judgements, from which the table of win rates is made."""
    return Judgements(
        judge=judge,
        model=model,
        baseline=baseline,
        preferences=np.array([math.nan if one.preference is None else one.preference for one in annotations]),
        index=np.array([one.index for one in annotations], dtype=np.int64),
        lengths=np.array([len(one.output) for one in annotations], dtype=np.float64),
        baseline_lengths=np.array([len(one.reference) for one in annotations], dtype=np.float64),
        instructions=distinct_texts(one.instruction for one in annotations),
    )


def as_records(annotations: Sequence[Annotation], *, judge: str, model: str, baseline: str) -> list[dict[str, object]]:
    """Return annotations as alpaca-eval stores them, and what it does not store: the verdict of each order."""
    return [
        {
            "index": one.index,
            "instruction": one.instruction,
            "output_1": one.reference,
            "generator_1": baseline,
            "output_2": one.output,
            "generator_2": model,
            "annotator": judge,
            "preference": None if one.preference is None else 1.0 + one.preference,
            "verdicts": {
                first: {"first_better": verdict.first_better, "outcome": verdict.outcome, "said": verdict.text}
                for first, verdict in one.verdicts.items()
            },
        }
        for one in annotations
    ]


def _annotation(pairs: PairedAnswers, row: int, verdicts: Mapping[str, Verdict]) -> Annotation:
    chances = [_for_the_model(first, verdict) for first, verdict in verdicts.items()]
    known = [chance for chance in chances if chance is not None]
    same = not verdicts  # equal answers are not judged
    return Annotation(
        index=pairs.index[row],
        instruction=pairs.instructions[row],
        output=pairs.outputs[row],
        reference=pairs.references[row],
        preference=0.5 if same else float(np.mean(known)) if len(known) == len(chances) else None,
        verdicts=dict(verdicts),
    )


def _for_the_model(first: str, verdict: Verdict) -> float | None:
    if verdict.first_better is None:
        return None
    return verdict.first_better if first == "model" else 1.0 - verdict.first_better


def _coin(seed: int, *texts: str) -> int:
    return hashlib.sha256(json.dumps([seed, *texts]).encode()).digest()[0] & 1

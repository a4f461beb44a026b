"""Labelling a round's completions: scored one by one, or compared two by two, by any judge; kept on disk."""

import gzip
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.errors import RunError
from bench.evaluate.judges.annotate import annotate, outcomes, position_bias, to_ask, uncached
from bench.evaluate.judges.answers import PairedAnswers, in_order
from bench.evaluate.judges.base import Cost, Judge, Verdict
from bench.evaluate.judges.cache import key_of, read_verdict, store_verdict
from bench.runner.iterate.samples import Sampled
from bench.utils.files import write_bytes_whole, write_text_whole

FILE, ABOUT = "labels.jsonl.gz", "about.json"
CHUNK = 32
"""Answers that are scored before their verdicts are kept."""
Tell = Callable[[int, int], None]
ScoreAnswers = Callable[[Sequence[tuple[str, str]], int], Sequence[Verdict]]
"""From (prompt, answer) of a chunk and its number to a verdict each, whose words are ``stated_score``'s."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What was said of one prompt's completions: a score each, or the chance of i < j to be better; None for none."""

    scores: tuple[float | None, ...] = ()
    compared: Mapping[tuple[int, int], float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class About:
    """How a judge judged a round: verdicts by outcome, tokens, and what is known of its doubts.

    ``first_wins``: how often the answer shown first won, in percent (50: no bias). ``mass``: probability that the
    judge gave to all answers it may give, a mean. ``mean``: of the scores. None where there is no such thing.
    """

    judge: str
    outcomes: Mapping[str, int]
    tokens: int = 0
    first_wins: float | None = None
    mass: float | None = None
    mean: float | None = None
    example: str = ""


def stated_score(score: float | None, words: str = "") -> str:
    """Return a score as a verdict keeps it."""
    return json.dumps({"score": score, "said": words}, ensure_ascii=False)


def by_score(
    name: str, identity: str, score: ScoreAnswers, sampled: Sequence[Sampled], *, cache: Path | None, progress: Tell
) -> tuple[list[Labels], About]:
    """Score every completion by itself; equal answers to a prompt are scored once.

    Args:
        identity: hash of all that decides a score.
        cache: folder of verdicts given before; what is scored anew is kept there, chunk by chunk.
    """
    answers = list(dict.fromkeys((row.prompt, text) for row in sampled for text in row.texts))
    verdicts: dict[tuple[str, str], Verdict] = {}
    for number, start in enumerate(range(0, len(answers), CHUNK)):
        part = answers[start : start + CHUNK]
        keys = [key_of(f"score {identity}", (("user", prompt), ("assistant", text))) for prompt, text in part]
        known = [read_verdict(cache, key) if cache is not None else None for key in keys]
        # A chunk is scored whole: what is drawn for one answer depends on its place among the others.
        chunk_verdicts = score(part, number) if None in known else known
        for one, key, before, verdict in zip(part, keys, known, chunk_verdicts, strict=True):
            assert verdict is not None
            if cache is not None and before is None:
                store_verdict(cache, key, verdict)
            verdicts[one] = before or verdict
        progress(len(verdicts), len(answers))
    scores = {one: _score(verdict) for one, verdict in verdicts.items()}
    known_scores = [value for value in scores.values() if value is not None]
    about = About(
        judge=name,
        outcomes=dict(Counter(verdict.outcome for verdict in verdicts.values())),
        tokens=sum(verdict.prompt_tokens + verdict.completion_tokens for verdict in verdicts.values()),
        mass=_mean([verdict.mass for verdict in verdicts.values() if verdict.mass is not None]),
        mean=_mean(known_scores),
        example=next((verdict.text for verdict in verdicts.values() if verdict.outcome != "judged"), "")[:400],
    )
    return [Labels(scores=tuple(scores[row.prompt, text] for text in row.texts)) for row in sampled], about


def score_by(judge: Judge) -> ScoreAnswers:
    """Return how a judge that scores is asked for a chunk."""

    def score(part: Sequence[tuple[str, str]], number: int) -> list[Verdict]:
        assert judge.score is not None
        values = [float(value) for value in judge.score(part)]
        return [
            Verdict(first_better=None, text=stated_score(value))
            if math.isfinite(value)
            else Verdict(
                first_better=None, outcome="failed", text=stated_score(None, "no score, or one too long to read")
            )
            for value in values
        ]

    return score


def by_comparison(
    judge: Judge, sampled: Sequence[Sampled], *, both: bool, seed: int, cache: Path, progress: Tell
) -> tuple[list[Labels], About]:
    """Show ``judge`` every two completions of each prompt, in an order by coin or (``both``) in both orders."""
    places = _places(sampled)
    annotations = annotate(
        judge, _paired(sampled), both=both, seed=seed, cache=cache if judge.ordered else None, progress=progress
    )
    compared: list[dict[tuple[int, int], float | None]] = [{} for _ in sampled]
    for (row, one, other), annotation in zip(places, annotations, strict=True):
        compared[row][one, other] = annotation.preference
    verdicts = [verdict for each in annotations for verdict in each.verdicts.values()]
    bias = position_bias(annotations)
    about = About(
        judge=judge.name,
        outcomes={str(outcome): count for outcome, count in outcomes(annotations).items()},
        tokens=sum(verdict.prompt_tokens + verdict.completion_tokens for verdict in verdicts),
        first_wins=bias.first if judge.ordered and bias.n else None,
        mass=_mean([verdict.mass for verdict in verdicts if verdict.mass is not None]),
        example=next((verdict.text for verdict in verdicts if verdict.outcome != "judged"), "")[:400],
    )
    return [Labels(compared=each) for each in compared], about


def cost_of_comparing(judge: Judge, sampled: Sequence[Sampled], *, both: bool, seed: int, cache: Path) -> Cost | None:
    """Return what asking for a round's missing verdicts takes at most; None where it is free."""
    if judge.cost is None or judge.prompt is None:
        return None
    pairs = [pair for _, _, pair in to_ask(judge, _paired(sampled), both=both, seed=seed)]
    return judge.cost([judge.prompt(pair) for pair in uncached(judge, pairs, cache=cache)], judge.limit)


def write_labels(folder: Path, labels: Sequence[Labels], about: About) -> None:
    """Write a round's labels, a line each prompt, and how the judge judged. Raises RunError."""
    lines = [
        {
            "scores": list(row.scores),
            "compared": [[one, other, chance] for (one, other), chance in sorted(row.compared.items())],
        }
        for row in labels
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_bytes_whole(folder / FILE, gzip.compress(text.encode(), mtime=0))
    write_text_whole(folder / ABOUT, json.dumps(asdict(about), ensure_ascii=False, indent=1) + "\n")


def read_labels(folder: Path) -> tuple[list[Labels], About]:
    """Read what ``write_labels`` wrote. Raises RunError where it cannot be read."""
    try:
        lines = gzip.decompress((folder / FILE).read_bytes()).decode().split("\n")
        about = About(**json.loads((folder / ABOUT).read_text(encoding="utf-8")))
        read = [json.loads(line) for line in lines if line]
        return [
            Labels(
                scores=tuple(row["scores"]),
                compared={(one, other): chance for one, other, chance in row["compared"]},
            )
            for row in read
        ], about
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} cannot be read: {error}", fix=f"remove {folder} and run again") from error


def _places(sampled: Sequence[Sampled]) -> list[tuple[int, int, int]]:
    return [
        (row, one, other)
        for row, each in enumerate(sampled)
        for one, other in itertools.combinations(range(len(each.texts)), 2)
    ]


def _paired(sampled: Sequence[Sampled]) -> PairedAnswers:
    places = _places(sampled)
    return in_order(
        [sampled[row].prompt for row, _, _ in places],
        [sampled[row].texts[one] for row, one, _ in places],
        [sampled[row].texts[other] for row, _, other in places],
        model="first",
        baseline="second",
    )


def _score(verdict: Verdict) -> float | None:
    score = json.loads(verdict.text)["score"]
    return None if score is None else float(score)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

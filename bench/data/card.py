"""Data card: counts and distributions of a preference data set."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.data.column_account import Unread
from bench.data.contamination import Contamination
from bench.data.filters import PreferenceRow, answers, content_key, margin, plain_text
from bench.data.near_duplicates import words
from bench.data.preferences import Reading, preferences_in
from bench.data.rows import Kind, Pair, Single, Text
from bench.data.template_marks import TemplateMarks, count_marks

LEVELS = (0, 5, 25, 50, 75, 95, 99, 100)
"""Percentiles of lengths and margins."""
SAMPLES = 3
MANY_TURNS = 4
Lengths = Mapping[str, tuple[int, ...]]
"""Of a unit: by field, a length for each row."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How numbers are spread: their mean, and ``LEVELS`` of percentiles (nearest number that is there)."""

    count: int
    mean: float
    percentiles: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LengthBias:
    """Whether the preferred answer is the longer one. Pairs of equal length are left out of the share.

    ``share`` is of pairs whose chosen answer is longer, ``low`` and ``high`` its Wilson interval at 95 %;
    ``difference`` is the median of chosen less rejected.
    """

    pairs: int
    equal: int
    share: float | None
    low: float | None
    high: float | None
    difference: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """A data card. Lengths and bias are by unit (characters, words, tokens), then by field.

    ``duplicates`` are rows that say what an earlier one says; ``contradictions`` prompts of which two answers were
    preferred both ways; ``reversed_scores`` pairs whose rejected answer has the higher score; ``too_long`` rows whose
    prompt leaves no room at ``max_length`` tokens, ``cut`` others that lose the end of an answer. ``template_marks``:
    of chat templates, in texts. ``columns`` says of each column of the file what became of it, ``not_read`` in how many
    rows those that nothing read say something; ``fault_kinds`` counts the faulty rows by kind. ``against`` names the
    file that ``contamination`` is about, of which ``against_unread`` rows could not be read. ``token_rule`` says in
    words how tokens were counted; ``advice`` what to know before a run, and ``command`` is the one to type, of a whole
    file at its last card.
    """

    source: str
    format: str
    kind: Kind
    form: str
    content_hash: str
    rows: int
    in_file: int
    prompts: int
    dropped: Mapping[str, int]
    faulty: int
    faults: tuple[str, ...]
    fault_kinds: Mapping[str, int]
    columns: Mapping[str, str]
    not_read: tuple[Unread, ...]
    labels: Mapping[str, int]
    turns: Mapping[str, int]
    lengths: Mapping[str, Mapping[str, Spread]]
    bias: Mapping[str, LengthBias]
    margins: Spread | None
    ties: int
    reversed_scores: int
    duplicates: int
    contradictions: int
    max_length: int | None
    too_long: int | None
    cut: int | None
    samples: tuple[Mapping[str, str], ...]
    template_marks: TemplateMarks
    contamination: Contamination | None = None
    against: str | None = None
    against_unread: int = 0
    token_rule: str | None = None
    advice: tuple[str, ...] = ()
    command: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return everything as plain data, by the names that files of cards have."""
        fields: dict[str, object] = asdict(self)
        if self.contamination is not None:
            overlap = asdict(self.contamination)
            # Files of cards have had this name from the first.
            fields["contamination"] = {"found" if name == "overlaps" else name: each for name, each in overlap.items()}
        return fields


def describe(
    reading: Reading,
    *,
    source: str,
    tokens: Sequence[tuple[int, ...]] | None = None,
    max_length: int | None = None,
    contaminated: Contamination | None = None,
    against: str | None = None,
    against_unread: int = 0,
) -> Card:
    """Return the card of what was read.

    Args:
        tokens: of each row (prompt, answers…), as ``token_lengths`` gives them; None leaves tokens out.
        max_length: tokens of prompt and answer that a model is to see.

    Raises UsageError where no row could be read.
    """
    whole = preferences_in(reading, source=source)
    rows: Sequence[PreferenceRow] = whole.rows
    lengths = row_lengths(rows, tokens)
    margins = [gap for gap in map(margin, rows) if gap is not None]
    keys = Counter(map(content_key, rows))
    too_long = cut = None
    if tokens is not None and max_length is not None:
        too_long = sum(row[0] >= max_length for row in tokens)
        cut = sum(row[0] < max_length < row[0] + max(row[1:]) for row in tokens)
    return Card(
        source=source,
        format=reading.format,
        kind=whole.kind,
        form="strings" if isinstance(rows[0].prompt, str) else "messages",
        content_hash=whole.content_hash,
        rows=len(rows),
        in_file=reading.raw,
        prompts=len({plain_text(row.prompt) for row in rows}),
        dropped=dict(reading.dropped),
        faulty=reading.faulty,
        faults=tuple(f"{Path(where).name}: {fault.problem}" for where, fault in reading.faults),
        fault_kinds=dict(reading.fault_kinds),
        columns=reading.columns.states(),
        not_read=reading.columns.not_read(),
        labels=dict(Counter("wanted" if row.label else "unwanted" for row in rows if isinstance(row, Single))),
        turns=dict(sorted(Counter(_turns(row) for row in rows).items())),
        lengths={unit: {name: spread(each) for name, each in fields.items()} for unit, fields in lengths.items()},
        bias={
            unit: length_bias(fields["chosen"], fields["rejected"])
            for unit, fields in lengths.items()
            if "chosen" in fields and "rejected" in fields
        },
        margins=spread(margins) if margins else None,
        ties=sum(gap == 0 for gap in margins),
        reversed_scores=sum(gap < 0 for gap in margins),
        duplicates=sum(count - 1 for count in keys.values()),
        contradictions=_contradictions(rows),
        max_length=max_length,
        too_long=too_long,
        cut=cut,
        samples=tuple(_sample(rows[place]) for place in _spaced(len(rows), SAMPLES)),
        template_marks=count_marks(rows),
        contamination=contaminated,
        against=against,
        against_unread=against_unread,
    )


def row_lengths(rows: Sequence[PreferenceRow], tokens: Sequence[tuple[int, ...]] | None = None) -> dict[str, Lengths]:
    """Return each row's lengths by unit and field: prompt with chosen and rejected, or with wanted and unwanted."""
    lengths: dict[str, Lengths] = {
        "characters": _by_field(rows, [tuple(map(len, (plain_text(row.prompt), *answers(row)))) for row in rows]),
        "words": _by_field(rows, [_counted(row, lambda text: len(words(text))) for row in rows]),
    }
    return lengths if tokens is None else {**lengths, "tokens": _by_field(rows, tokens)}


def spread(numbers: Sequence[float]) -> Spread:
    """Return how at least one number is spread."""
    values = np.asarray(numbers, dtype=np.float64)
    percentiles = np.percentile(values, LEVELS, method="closest_observation")
    return Spread(count=len(values), mean=float(values.mean()), percentiles=tuple(float(each) for each in percentiles))


def length_bias(chosen: Sequence[int], rejected: Sequence[int]) -> LengthBias:
    """Return how often the preferred answer is the longer one of a pair."""
    from scipy.stats import binomtest

    gaps = np.asarray(chosen) - np.asarray(rejected)
    longer, equal = int((gaps > 0).sum()), int((gaps == 0).sum())
    decided = len(gaps) - equal
    interval = binomtest(longer, decided).proportion_ci(method="wilson") if decided else None
    return LengthBias(
        pairs=len(gaps),
        equal=equal,
        share=longer / decided if decided else None,
        low=None if interval is None else float(interval.low),
        high=None if interval is None else float(interval.high),
        difference=float(np.median(gaps)),
    )


def shared_prompts(parts: Mapping[str, Sequence[PreferenceRow]]) -> dict[tuple[str, str], int]:
    """Return how many distinct prompts each two parts have in common."""
    prompts = {name: {plain_text(row.prompt) for row in rows} for name, rows in parts.items()}
    names = list(prompts)
    return {
        (one, two): len(prompts[one] & prompts[two]) for place, one in enumerate(names) for two in names[place + 1 :]
    }


def _by_field(rows: Sequence[PreferenceRow], lengths: Sequence[tuple[int, ...]]) -> Lengths:
    fields: dict[str, list[int]] = {"prompt": []}
    for row, (prompt, *rest) in zip(rows, lengths, strict=True):
        fields["prompt"].append(prompt)
        names = ("chosen", "rejected") if isinstance(row, Pair) else ("wanted" if row.label else "unwanted",)
        for name, length in zip(names, rest, strict=True):
            fields.setdefault(name, []).append(length)
    return {name: tuple(each) for name, each in fields.items()}


def _counted(row: PreferenceRow, count: Callable[[str], int]) -> tuple[int, ...]:
    return tuple(map(count, (plain_text(row.prompt), *answers(row))))


def _turns(row: PreferenceRow) -> str:
    if isinstance(row.prompt, str):
        return "plain text"
    questions = sum(each["role"] == "user" for each in row.prompt)
    system = " and a system message" if row.prompt[0]["role"] in ("system", "developer") else ""
    count = str(questions) if questions < MANY_TURNS else f"{MANY_TURNS} or more"
    return f"{count} turn{'s' if questions > 1 else ''} of the user{system}"


def _contradictions(rows: Sequence[PreferenceRow]) -> int:
    """Count distinct prompts of which some two answers were preferred both ways, or an answer has both labels."""
    seen: set[tuple[str, str, str]] = set()
    prompts: set[str] = set()
    for row in rows:
        prompt, texts = plain_text(row.prompt), answers(row)
        own = (prompt, texts[0], texts[1] if isinstance(row, Pair) else str(row.label))
        other = (prompt, own[2], own[1]) if isinstance(row, Pair) else (prompt, own[1], str(not row.label))
        seen.add(own)
        if other in seen:
            prompts.add(prompt)
    return len(prompts)


def _sample(row: PreferenceRow) -> dict[str, str]:
    if isinstance(row, Pair):
        return {
            "row": str(row.id),
            "prompt": _prompt_text(row.prompt),
            "chosen": plain_text(row.chosen),
            "rejected": plain_text(row.rejected),
        }
    name = "wanted" if row.label else "unwanted"
    return {"row": str(row.id), "prompt": _prompt_text(row.prompt), name: plain_text(row.completion)}


def _prompt_text(prompt: Text) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{each['role']}: {each['content']}" for each in prompt)


def _spaced(count: int, wanted: int) -> list[int]:
    return sorted({round(place * (count - 1) / max(1, wanted - 1)) for place in range(min(count, wanted))})

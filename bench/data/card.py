"""Data card: counts and distributions of a preference data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.column_account import Unread
from bench.data.contamination import Contamination
from bench.data.digests import among, first_seen
from bench.data.facts import Column, Facts, facts_of, turns_named
from bench.data.filters import PreferenceRow, plain_text
from bench.data.preferences import Reading, preferences_in
from bench.data.rows import Kind, Pair, Text
from bench.data.template_marks import TemplateMarks, marks_of

LEVELS = (0, 5, 25, 50, 75, 95, 99, 100)
"""Percentiles of lengths and margins."""
SAMPLES = 3
Lengths = Mapping[str, NDArray[np.integer]]
"""Of a unit: by field, a length for each row."""
Tokens = Sequence[tuple[int, ...]] | NDArray[np.int64]
"""Of each row: its prompt's tokens, and those of each answer."""


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
    tokens: Tokens | None = None,
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
    facts = facts_of(rows)
    lengths = _lengths(facts, whole.kind, tokens)
    margins = facts.margin[~np.isnan(facts.margin)]
    distinct = [len(first_seen(each)[1]) for each in (facts.prompt, facts.content)]
    too_long = cut = None
    if tokens is not None and max_length is not None:
        prompts, longest = np.asarray(tokens)[:, 0], np.asarray(tokens)[:, 1:].max(axis=1)
        too_long = int((prompts >= max_length).sum())
        cut = int(((prompts < max_length) & (prompts + longest > max_length)).sum())
    labels = facts.label.tolist() if whole.kind == "unpaired" else []
    return Card(
        source=source,
        format=reading.format,
        kind=whole.kind,
        form="strings" if isinstance(rows[0].prompt, str) else "messages",
        content_hash=whole.content_hash,
        rows=len(rows),
        in_file=reading.raw,
        prompts=distinct[0],
        dropped=dict(reading.dropped),
        faulty=reading.faulty,
        faults=tuple(f"{Path(where).name}: {fault.problem}" for where, fault in reading.faults),
        fault_kinds=dict(reading.fault_kinds),
        columns=reading.columns.states(),
        not_read=reading.columns.not_read(),
        labels=dict(Counter("wanted" if label else "unwanted" for label in labels)),
        turns=dict(sorted((turns_named(code), count) for code, count in Counter(facts.turns.tolist()).items())),
        lengths={unit: {name: spread(each) for name, each in fields.items()} for unit, fields in lengths.items()},
        bias={
            unit: length_bias(fields["chosen"], fields["rejected"])
            for unit, fields in lengths.items()
            if "chosen" in fields and "rejected" in fields
        },
        margins=spread(margins) if len(margins) else None,
        ties=int((margins == 0).sum()),
        reversed_scores=int((margins < 0).sum()),
        duplicates=len(rows) - distinct[1],
        contradictions=_contradictions(facts),
        max_length=max_length,
        too_long=too_long,
        cut=cut,
        samples=tuple(_sample(rows[place]) for place in _spaced(len(rows), SAMPLES)),
        template_marks=marks_of(rows, facts.marks),
        contamination=contaminated,
        against=against,
        against_unread=against_unread,
    )


def row_lengths(rows: Sequence[PreferenceRow], tokens: Tokens | None = None) -> dict[str, Lengths]:
    """Return each row's lengths by unit and field: prompt with chosen and rejected, or with wanted and unwanted."""
    return _lengths(facts_of(rows), "pairs" if isinstance(rows[0], Pair) else "unpaired", tokens)


def spread(numbers: Sequence[float] | Column) -> Spread:
    """Return how at least one number is spread."""
    values = np.asarray(numbers, dtype=np.float64)
    percentiles = np.percentile(values, LEVELS, method="closest_observation")
    return Spread(count=len(values), mean=float(values.mean()), percentiles=tuple(float(each) for each in percentiles))


def length_bias(chosen: Sequence[int] | Column, rejected: Sequence[int] | Column) -> LengthBias:
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
    prompts = {name: facts_of(rows).prompt for name, rows in parts.items()} if len(parts) > 1 else {}
    names = list(prompts)
    return {
        (one, two): len(np.intersect1d(prompts[one], prompts[two]))
        for place, one in enumerate(names)
        for two in names[place + 1 :]
    }


def _lengths(facts: Facts, kind: Kind, tokens: Tokens | None) -> dict[str, Lengths]:
    units: dict[str, NDArray[np.integer]] = {"characters": facts.characters, "words": facts.words}
    units |= {} if tokens is None else {"tokens": np.asarray(tokens)}
    return {unit: _by_field(table, kind, facts.label) for unit, table in units.items()}


def _by_field(table: NDArray[np.integer], kind: Kind, label: NDArray[np.bool_]) -> Lengths:
    if kind == "pairs":
        return dict(zip(("prompt", "chosen", "rejected"), table.T, strict=True))
    sides = {"wanted": table[label, 1], "unwanted": table[~label, 1]}
    # The one that comes first in the data comes first here.
    names = sorted(sides, reverse=not label[0])
    return {"prompt": table[:, 0], **{name: sides[name] for name in reversed(names) if len(sides[name])}}


def _contradictions(facts: Facts) -> int:
    """Count distinct prompts of which some two answers were preferred both ways, or an answer has both labels."""
    return len(np.unique(facts.prompt[among(facts.opposite, facts.order)]))


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

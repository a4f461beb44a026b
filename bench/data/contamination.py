"""Contamination: overlap of evaluation prompts with training prompts, exact or by runs of words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.digests import digest_of
from bench.data.files import raw_rows
from bench.data.hub import hub_id
from bench.data.mapped_columns import renamed
from bench.data.near_duplicates import WORD, normalised, words
from bench.data.preferences import scan
from bench.data.readers.messages import turns
from bench.data.row_errors import RowError
from bench.data.rows import Text, as_object
from bench.errors import UsageError

RUN = 13
"""Words of a run that two texts hardly have in common by chance (as for GPT-3, arXiv 2005.14165, appendix C)."""
MOSTLY = 0.8
"""Share of its runs from which a prompt counts as seen (as for Llama 2, arXiv 2307.09288, appendix A.6)."""
# Where files of questions have them.
_PROMPT_FIELDS = ("prompt", "instruction", "question", "turns", "messages", "conversations", "query", "text")


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A prompt of the evaluation, which training prompt it was found in, and what share of its runs is found at all.

    Places count from 0. ``share`` is of its distinct runs of ``run`` words in any training prompt; ``training`` is the
    first training prompt with one of them.
    """

    evaluation: int
    training: int
    share: float
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """What of an evaluation's prompts was found in the training prompts. Counts are of distinct prompts.

    ``short`` prompts have fewer words than a run: they are compared as a whole only.
    """

    training: int
    evaluation: int
    short: int
    run: int
    overlaps: tuple[Overlap, ...]

    @cached_property
    def exact(self) -> int:
        """Prompts that are a training prompt, but for case and white space."""
        return sum(each.exact for each in self.overlaps)

    @cached_property
    def mostly(self) -> int:
        """Prompts that are equal, or of which at least ``MOSTLY`` of the runs are found."""
        return sum(each.exact or each.share >= MOSTLY for each in self.overlaps)

    @cached_property
    def touched(self) -> int:
        """Prompts that are equal, or share at least one run."""
        return len(self.overlaps)


class Sought:
    """Prompts of an evaluation, and what of them stands in a text."""

    def __init__(self, evaluation: Iterable[str], *, run: int = RUN) -> None:
        self.run = run
        self.prompts = list(dict.fromkeys(map(normalised, evaluation)))
        self.texts = frozenset(self.prompts)
        self.runs_of = [_runs(words(text), run) for text in self.prompts]
        self._wanted = {each for own in self.runs_of for each in own}
        self._ends = {(each[0], each[-1]) for each in self._wanted}

    def runs_in(self, text: str) -> list[tuple[str, ...]]:
        """Return the runs of the evaluation that a normalised text has."""
        # Normalised twice, as ``words`` does it; of ASCII once is enough.
        text_words = WORD.findall(text) if text.isascii() else words(text)
        ends = zip(text_words, text_words[self.run - 1 :], strict=False)
        places = [place for place, pair in enumerate(ends) if pair in self._ends]
        runs = (tuple(text_words[place : place + self.run]) for place in places)
        return [each for each in runs if each in self._wanted]


def contamination(training: Iterable[str], evaluation: Sequence[str], *, run: int = RUN) -> Contamination:
    """Compare prompts with prompts. Case, white space and (in runs) punctuation are evened out; nothing is sampled.

    Time grows with the words of both, memory with the words of ``evaluation`` and the number of prompts.
    Raises UsageError for ``run`` below 1.
    """
    if run < 1:
        raise UsageError(f"a run must have at least 1 word (got {run})", fix="13 words are usual")
    sought = Sought(evaluation, run=run)
    prompts, runs_of = sought.prompts, sought.runs_of
    equal: dict[str, int] = {}
    first: dict[tuple[str, ...], int] = {}
    seen: set[bytes] = set()
    for each in training:
        text = normalised(each)
        place = len(seen)
        seen.add(digest_of(text.encode("utf-8", "surrogatepass")))
        if len(seen) == place:
            continue
        if text in sought.texts:
            equal[text] = place
        for hit in sought.runs_in(text):
            first.setdefault(hit, place)
    overlaps = []
    for place, (text, own) in enumerate(zip(prompts, runs_of, strict=True)):
        hits = [first[each] for each in own if each in first]
        if text in equal or hits:
            training_place = equal[text] if text in equal else min(hits)
            share = len(hits) / len(own) if own else 1.0
            overlaps.append(Overlap(evaluation=place, training=training_place, share=share, exact=text in equal))
    return Contamination(
        training=len(seen),
        evaluation=len(prompts),
        short=sum(not own for own in runs_of),
        run=run,
        overlaps=tuple(overlaps),
    )


def user_text(prompt: Text) -> str:
    """Return what the user says in a prompt: a system message that all rows share is no overlap."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(each["content"] for each in prompt if each["role"] == "user")


@dataclass(frozen=True, kw_only=True)
class EvaluationPrompts:
    """The prompts of a file, and how many of its rows could not be read as the others."""

    prompts: tuple[str, ...]
    unread: int = 0


def prompts_in(path: Path, options: DataOptions = AS_IT_IS) -> EvaluationPrompts:
    """Return the prompts of a file of preferences, or of questions: a column prompt, instruction, question, turns, ….

    Raises UsageError for a file that has neither, naming the first row without a prompt.
    """
    # Of turns only the user's are compared, so that a system text in a column of its own is none of a prompt.
    read = scan(path, options.model_copy(update={"form": "messages"}) if options.form == "auto" else options)
    if read.rows:
        return EvaluationPrompts(prompts=tuple(user_text(row.prompt) for row in read.rows), unread=read.faulty)
    if hub_id(path) is not None and read.faults:
        raise UsageError(f"{path}: {read.faults[0][1].problem}", fix=read.faults[0][1].fix)
    prompts = []
    for shard, number, raw in raw_rows(path, split=options.split):
        try:
            if isinstance(raw, RowError):
                raise raw
            prompts.append(_question(renamed(as_object(raw), options.columns)))
        except RowError as fault:
            where = path / shard if shard else path
            raise UsageError(f"{where}, row {number}: {fault.problem}", fix=fault.fix) from None
    if not prompts:
        raise UsageError(f"{path} is empty: it holds no rows", fix="give a file with at least one row")
    return EvaluationPrompts(prompts=tuple(prompts))


def _question(raw: dict[str, object]) -> str:
    name = next((name for name in _PROMPT_FIELDS if raw.get(name)), None)
    value = raw.get(name or "")
    if name == "turns" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "\n".join(map(str, value))
    if name is not None and isinstance(value, list):
        value = user_text(turns(value, name))
    if not isinstance(value, str):
        raise RowError("it has no prompt", fix=f"give one of {', '.join(_PROMPT_FIELDS)}, or --columns prompt=NAME")
    context = raw.get("input")
    below = f"\n\n{context}" if name == "instruction" and isinstance(context, str) and context.strip() else ""
    return value + below


def _runs(text_words: Sequence[str], length: int) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(text_words[i : i + length]) for i in range(len(text_words) - length + 1))

"""Readers of scored or compared answers: which of them make pairs, and which are ties."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from bench.core.data_options import DataOptions
from bench.data.mapped_columns import note_keys, unnoted
from bench.data.readers.answer_index import refuse_index
from bench.data.readers.chat import instructed
from bench.data.readers.dialogues import answer_of, prompt_of
from bench.data.readers.messages import ASSISTANT, HUMAN, line_ends, prompt_end
from bench.data.readers.plain import names_of_scores, sides_of
from bench.data.row_errors import RowError, listed, shorten, type_name
from bench.data.rows import (
    TIE,
    Dropped,
    Pair,
    Text,
    encodable,
    make_pair,
    required,
    score_of,
    scores_of,
    string,
    text_of,
)

Scored = tuple[str, object, float]
"""An answer's field, its value, its score; higher is better."""
_ANSWERS = ("completions", "responses", "generations", "answers", "candidates", "output")
_SCORES = ("scores", "ratings", "rating", "score")
_TEXT_KEYS = ("response", "text", "completion", "content", "output", "answer")
_SCORE_KEYS = ("overall_score", "score", "rating", "reward", "rank")
_PROMPTS = ("prompt", "instruction", "input", "question", "query", "context")
EQUAL, UNSCORED, UNDECIDED = "answers are equal", "fewer than two scores", "no preference"
NO_SCORE = "answer without a score"
"""The reason for which an answer is no part of a pair, though others of its row are."""


def read_alpaca(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pair; ``input`` stands below the instruction, and ``output`` is passed over."""
    if raw.get("status") == TIE:
        yield Dropped(reason=TIE)
        return
    names = sides_of(raw)
    refuse_index(raw, (names[0], raw.get(names[0])), (names[1], raw.get(names[1])))
    chosen, rejected = ((name, string(raw, name)) for name in names)
    scores = scores_of(raw, names_of_scores(names))
    yield make_pair(instructed(raw), chosen, rejected, scores=scores, field="instruction", row=row)


def read_alpacafarm(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pair: ``preference`` is 1 or 2, or a number between them; 1.5 (or 0) is a tie, null no verdict."""
    sides = [(name, string(raw, name)) for name in ("output_1", "output_2")]
    if "preference" not in raw:
        required(raw, "preference")
    if raw["preference"] is None:
        yield Dropped(reason=UNDECIDED)
        return
    value = score_of(raw["preference"], "preference")
    if value != 0 and not 1 <= value <= 2:
        raise RowError(f"field 'preference': {shorten(value)} is neither 1 nor 2", fix="write 1, 2, or 1.5 for a tie")
    if value in (0, 1.5):
        yield Dropped(reason=TIE)
        return
    chosen, rejected = sides if value < 1.5 else sides[::-1]
    yield make_pair(instructed(raw), chosen, rejected, field="instruction", row=row)


def read_saferlhf(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair]:
    """Yield the pair that ``better_response_id`` (helpfulness) tells; another column by ``data.score``."""
    prompt = string(raw, "prompt")
    sides = [(name, string(raw, name)) for name in ("response_0", "response_1")]
    name = options.score or "better_response_id"
    better = required(raw, name)
    if isinstance(better, bool) or better not in (0, 1):
        raise RowError(
            f"field '{name}': {shorten(better)} is neither 0 nor 1", fix="write the better response's number"
        )
    chosen, rejected = sides if better == 0 else sides[::-1]
    yield make_pair(prompt, chosen, rejected, row=row)


def read_ranked_text(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pairs of dialogues in text that begin alike."""
    texts = [line_ends(_plain(each, f"text[{index}]")) for index, each in enumerate(_list(raw, "text"))]
    numbers = _numbers(raw, "score", count=len(texts), of="text")
    place = prompt_end(texts, ("text[0]", f"text[{len(texts) - 1}]"))
    prompt = prompt_of(texts[0][:place], "text[0]", options)
    yield from _paired(
        prompt,
        [
            (f"text[{index}]", answer_of(text[place:], f"text[{index}]", options), number)
            for index, (text, number) in enumerate(zip(texts, numbers, strict=True))
            if number is not None
        ],
        options,
        field="text[0]",
        row=row,
    )


def read_scored(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pairs of scored answers, which are objects with a score each, or strings beside a list of numbers."""
    field = next((name for name in _PROMPTS if raw.get(name) is not None), "prompt")
    prompt: Text = instructed(raw) if field == "instruction" else text_of(required(raw, field), field)
    if isinstance(prompt, str) and _asks(line_ends(prompt)):
        prompt = line_ends(prompt)
    spoken = isinstance(prompt, str) and options.form != "text" and _asks(prompt)
    if spoken:
        prompt = prompt_of(str(prompt).rstrip(), field, options)
    names = [name for name in _ANSWERS if unnoted(raw).get(name) is not None]
    name = next((name for name in names if isinstance(unnoted(raw)[name], list)), next(iter(names), "completions"))
    if raw.get(name) == []:
        yield Dropped(reason=UNSCORED)
        return
    answers = _list(raw, name)
    if all(isinstance(each, dict) for each in answers):
        scored = [_scored_object(each, f"{name}[{index}]", options) for index, each in enumerate(answers)]
        note_keys(raw, name, _keys_read(answers, options))
    else:
        beside = options.score or next((score for score in _SCORES if raw.get(score) is not None), "scores")
        numbers = _numbers(raw, beside, count=len(answers), of=name)
        scored = [
            (f"{name}[{index}]", each, number)
            for index, (each, number) in enumerate(zip(answers, numbers, strict=True))
        ]
    known = [
        (place, answer_of(_plain(value, place), place, options) if spoken else value, number)
        for place, value, number in scored
        if number is not None
    ]
    if len(known) > 1:
        yield from (Dropped(reason=NO_SCORE) for _ in range(len(scored) - len(known)))
    yield from _paired(prompt, known, options, field=field, row=row)


def _asks(prompt: str) -> bool:
    """Tell whether a prompt is a dialogue in text that waits for its answer, as Nectar's are."""
    return prompt.startswith(HUMAN) and prompt.rstrip().endswith(ASSISTANT)


def is_scored(raw: Mapping[str, object]) -> bool:
    """Tell whether a row has several answers with scores."""
    for name in _ANSWERS:
        answers = raw.get(name)
        if isinstance(answers, list) and answers:
            if isinstance(answers[0], dict):
                return any(key in answers[0] for key in (*_SCORE_KEYS, "fine-grained_score", "scores"))
            return any(isinstance(raw.get(score), list) for score in _SCORES)
    return False


def _paired(
    prompt: Text, scored: Sequence[Scored], options: DataOptions, *, field: str, row: int
) -> Iterator[Pair | Dropped]:
    """Yield best against worst, or all pairs; the first of equals is the best, and the last the worst."""
    if len(scored) < 2:
        yield Dropped(reason=UNSCORED)
        return
    ranked = sorted(scored, key=lambda each: -each[2])
    for better, worse in combinations(ranked, 2) if options.pairs == "all" else [(ranked[0], ranked[-1])]:
        if better[2] == worse[2]:
            yield Dropped(reason=TIE)
        elif better[1] == worse[1]:
            yield Dropped(reason=EQUAL)
        else:
            yield make_pair(prompt, better[:2], worse[:2], scores=(better[2], worse[2]), field=field, row=row)


def _scored_object(value: object, name: str, options: DataOptions) -> tuple[str, object, float | None]:
    fields = value if isinstance(value, dict) else {}
    text = next((key for key in _TEXT_KEYS if fields.get(key) is not None), None)
    if text is None:
        raise RowError(
            f"field '{name}': no answer in it (columns found: {listed(fields)})",
            fix=f"give each one of {', '.join(_TEXT_KEYS)}",
        )
    score = options.score or next((key for key in _SCORE_KEYS if key in fields), None)
    fields = {**fields, **_scores_by_path(fields, score)}
    if score is None or score not in fields:
        raise RowError(
            f"field '{name}.{score or 'score'}' is missing (columns found: {listed(fields)})",
            fix=_name_a_score(fields),
        )
    number = _number(fields[score], f"{name}.{score}")
    # The first rank is the best; a score is better where it is higher.
    return f"{name}.{text}", fields[text], -number if score == "rank" and number is not None else number


def _keys_read(answers: Sequence[object], options: DataOptions) -> set[str]:
    """Return what is read of scored answers: the key of the text, and that of the score."""
    read: set[str] = set()
    for each in answers:
        fields = each if isinstance(each, dict) else {}
        read.update([key for key in _TEXT_KEYS if fields.get(key) is not None][:1])
        read.update([key for key in _SCORE_KEYS if key in fields][:1])
    # A score that the options name is the only one.
    return read if options.score is None else (read - set(_SCORE_KEYS)) | {options.score.partition(".")[0]}


def _scores_by_path(fields: Mapping[str, object], score: str | None) -> dict[str, object]:
    """Return the score that «scores.bleu» names among several of an answer; nothing where there is none."""
    outer, _, inner = (score or "").partition(".")
    value = fields.get(outer)
    return {str(score): value[inner]} if inner and isinstance(value, dict) and inner in value else {}


def _name_a_score(fields: Mapping[str, object]) -> str:
    for name in ("scores", "score", "ratings"):
        several = fields.get(name)
        if isinstance(several, dict) and several:
            paths = [f"{name}.{key}" for key in several]
            return f"say which of the answer's scores decides: --set data.score={paths[0]} ({listed(paths)})"
    return f"give each one of {', '.join(_SCORE_KEYS)}, or name the field: --set data.score=fine-grained_score"


def _numbers(raw: Mapping[str, object], name: str, *, count: int, of: str) -> list[float | None]:
    numbers = [_number(each, f"{name}[{index}]") for index, each in enumerate(_list(raw, name))]
    if len(numbers) != count:
        raise RowError(f"field '{name}': {len(numbers)} numbers for {count} of '{of}'", fix="give each answer a score")
    return numbers


def _number(value: object, name: str) -> float | None:
    """Return a score; None where the annotator gave none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return score_of(value, name)


def _list(raw: Mapping[str, object], name: str) -> list[object]:
    value = required(raw, name)
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else type_name(value)
        raise RowError(f"field '{name}': {shorten(value)} is {what}", fix="write a list")
    return value


def _plain(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"field '{name}': {shorten(value)} is {type_name(value)}", fix="write a string")
    return encodable(value, name)

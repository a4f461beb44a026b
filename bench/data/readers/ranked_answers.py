"""Readers of scored or compared answers: which of them make pairs, and which are ties."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from bench.core.column_values import number_in
from bench.core.data_options import DataOptions
from bench.data.mapped_columns import note_keys, unnoted
from bench.data.readers.answer_index import refuse_index
from bench.data.readers.chat import instructed
from bench.data.readers.dialogues import answer_of, prompt_of
from bench.data.readers.messages import ASSISTANT, HUMAN, line_ends, optional, prompt_end
from bench.data.readers.plain import names_of_scores, sides_of
from bench.data.row_errors import RowError, listed, shorten, type_name
from bench.data.rows import (
    TIE,
    UNDECIDED,
    UNSCORED,
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
from bench.data.system_column import begun_with
from bench.data.verdict import outcome_of

Scored = tuple[str, object, float]
"""An answer's field, its value, its score; higher is better."""
_ANSWERS = ("completions", "responses", "generations", "answers", "candidates", "output")
_SCORES = ("scores", "ratings", "rating", "score")
_TEXT_KEYS = ("response", "text", "completion", "content", "output", "answer")
_SCORE_KEYS = ("overall_score", "score", "rating", "reward", "rank")
_FURTHER_KEYS = (*_SCORE_KEYS, "fine-grained_score")
_SYSTEM_KEYS = ("custom_system_prompt", "system_prompt")
_PROMPTS = ("prompt", "instruction", "input", "question", "query", "context")
EQUAL = "answers are equal"
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
    """Yield the pair: ``preference`` is 1 or 2, or a number between them; 1.5 is a tie, null no verdict.

    Other codes are what ``data.winner`` says: a 0 may be a tie, or the first answer of a code 0 and 1.
    """
    sides = [(name, string(raw, name)) for name in ("output_1", "output_2")]
    if "preference" not in raw:
        required(raw, "preference")
    if raw["preference"] is None:
        yield Dropped(reason=UNDECIDED)
        return
    if options.winner:
        verdict = outcome_of(raw["preference"], options.winner, ("output_1", "output_2"), "preference").verdict
    else:
        value = score_of(raw["preference"], "preference")
        if not 1 <= value <= 2:
            raise RowError(
                f"field 'preference': {shorten(value)} is neither 1 nor 2",
                fix="write 1, 2, or 1.5 for a tie; of another code say what each value means, as its source has it: "
                "--winner VALUE=first,VALUE=second,VALUE=tie",
                kind="unknown verdict",
            )
        verdict = TIE if value == 1.5 else "first" if value < 1.5 else "second"
    if verdict in (TIE, "none"):
        yield Dropped(reason=TIE if verdict == TIE else UNDECIDED)
        return
    chosen, rejected = sides if verdict == "first" else sides[::-1]
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
            (f"text[{index}]", answer_of(text[place:], f"text[{index}]", options), _signed(number, options))
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
    systems: dict[str, tuple[str, str]] = {}
    if all(isinstance(each, dict) for each in answers):
        scored = [_scored_object(each, f"{name}[{index}]", options) for index, each in enumerate(answers)]
        note_keys(raw, name, _keys_read(answers, options))
        if options.score is None:
            _refuse_contradictions({key: _numbers_of(answers, key) for key in _FURTHER_KEYS}, name)
        if options.answer_system == "read":
            systems = {place: _system_of(each, place) for each, (place, _, _) in zip(answers, scored, strict=True)}
    else:
        beside = options.score or next((score for score in _SCORES if raw.get(score) is not None), "scores")
        numbers = _numbers(raw, beside, count=len(answers), of=name)
        if options.score is None:
            _refuse_contradictions({key: _numbers_beside(raw, key, len(answers)) for key in _SCORES}, name)
        scored = [
            (f"{name}[{index}]", each, None if number is None else _signed(number, options))
            for index, (each, number) in enumerate(zip(answers, numbers, strict=True))
        ]
    known = [
        (place, answer_of(_plain(value, place), place, options) if spoken else value, number)
        for place, value, number in scored
        if number is not None
    ]
    if len(known) > 1:
        yield from (Dropped(reason=NO_SCORE) for _ in range(len(scored) - len(known)))
    yield from _paired(prompt, known, options, systems=systems, field=field, row=row)


def _asks(prompt: str) -> bool:
    """Tell whether a prompt is a dialogue in text that waits for its answer, as Nectar's are."""
    return prompt.startswith(HUMAN) and prompt.rstrip().endswith(ASSISTANT)


def is_scored(raw: Mapping[str, object]) -> bool:
    """Tell whether a row has several answers with scores."""
    for name in _ANSWERS:
        answers = raw.get(name)
        if isinstance(answers, list) and answers:
            if isinstance(answers[0], dict):
                return any(key in answers[0] for key in (*_FURTHER_KEYS, "scores"))
            return any(isinstance(raw.get(score), list) for score in _SCORES)
    return False


def _paired(
    prompt: Text,
    scored: Sequence[Scored],
    options: DataOptions,
    *,
    systems: Mapping[str, tuple[str, str]] | None = None,
    field: str,
    row: int,
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
            made = make_pair(prompt, better[:2], worse[:2], scores=(better[2], worse[2]), field=field, row=row)
            yield _under_system(made, systems[better[0]], systems[worse[0]], options) if systems else made


def _under_system(pair: Pair, better: tuple[str, str], worse: tuple[str, str], options: DataOptions) -> Pair:
    """Return the pair begun with the system text that both answers have. Raises RowError where they have two."""
    if better[1] != worse[1]:
        raise RowError(
            f"fields '{better[0]}' and '{worse[0]}': the two answers had different system texts, "
            f"{shorten(better[1])} and {shorten(worse[1])}",
            fix="--set data.answer_system=ignore compares them as answers to the prompt alone; "
            "--set data.drop_faulty=true leaves such rows out",
        )
    begun = begun_with(pair, *better, options) if better[1] else pair
    return begun if isinstance(begun, Pair) else pair


def _system_of(value: object, place: str) -> tuple[str, str]:
    """Return the field and the text of an answer's own system text, empty where it has none. Raises RowError."""
    answer = value if isinstance(value, dict) else {}
    name = next((key for key in _SYSTEM_KEYS if answer.get(key) is not None), _SYSTEM_KEYS[0])
    text = optional(answer, name)
    return f"{place.rpartition('.')[0]}.{name}", text if text.strip() else ""


def _refuse_contradictions(scores: Mapping[str, Sequence[float | None] | None], name: str) -> None:
    """Raise RowError where one score of the answers prefers one of two, and another score the other."""
    known = [(key, numbers) for key, numbers in scores.items() if numbers is not None]
    for (one, first), (other, second) in combinations(known, 2):
        two = enumerate(zip(first, second, strict=True))
        both = [(place, a, b) for place, (a, b) in two if a is not None and b is not None]
        for (i, a, c), (j, b, d) in combinations(both, 2):
            if (a - b) * (c - d) < 0:
                raise RowError(
                    f"field '{name}': its scores contradict each other: answers {i} and {j} have {a:g} and {b:g} by "
                    f"{one}, {c:g} and {d:g} by {other}",
                    fix=f"say which one decides: --set data.score={one} or --set data.score={other}",
                    kind="contradicting scores",
                )


def _numbers_of(answers: Sequence[object], key: str) -> list[float | None] | None:
    """Return a score of each answer, None where there is no number; None where no answer has that score."""
    values = [each.get(key) if isinstance(each, dict) else None for each in answers]
    numbers = [number_in(value) for value in values]
    if all(number is None for number in numbers):
        return None
    # The first rank is the best.
    return [None if number is None else -number for number in numbers] if key == "rank" else numbers


def _numbers_beside(raw: Mapping[str, object], name: str, count: int) -> list[float | None] | None:
    values = raw.get(name)
    return [number_in(value) for value in values] if isinstance(values, list) and len(values) == count else None


def _signed(number: float, options: DataOptions) -> float:
    """Return a score that is better where it is higher."""
    return number if options.better == "higher" else -number


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
    if number is not None:  # the first rank is the best; a score is better where it is higher
        number = -number if score == "rank" else _signed(number, options)
    return f"{name}.{text}", fields[text], number


def _keys_read(answers: Sequence[object], options: DataOptions) -> set[str]:
    """Return what is read of scored answers: the key of the text, and that of the score."""
    read: set[str] = set()
    for each in answers:
        fields = each if isinstance(each, dict) else {}
        read.update([key for key in _TEXT_KEYS if fields.get(key) is not None][:1])
        read.update([key for key in _SCORE_KEYS if key in fields][:1])
        if options.answer_system == "read":
            read.update([key for key in _SYSTEM_KEYS if fields.get(key) is not None][:1])
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

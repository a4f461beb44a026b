"""Reader of answers in no order, beside a verdict on them: a winner, votes, a strength with a sign, or two scores."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from bench.core.column_values import is_absent, number_in
from bench.core.data_options import DataOptions
from bench.data.readers.dialogues import answer_of, pair_of_dialogues, prompt_of
from bench.data.readers.messages import prompt_end, turn, turns
from bench.data.row_errors import RowError, shorten, type_name
from bench.data.rows import (
    TIE,
    UNDECIDED,
    UNSCORED,
    Dropped,
    Message,
    Pair,
    Scores,
    Text,
    make_pair,
    required,
    score_of,
    text_of,
)
from bench.data.verdict import Outcome, outcome_of

SCORES = ("first_score", "second_score")
Side = tuple[str, object]
"""An answer's field, and its value."""


def fits(raw: Mapping[str, object]) -> bool:
    """Tell whether a row has two answers and a verdict by our names, and no better answer by name."""
    verdict = "winner" in raw or all(name in raw for name in SCORES)
    return "first" in raw and "second" in raw and verdict and not ("chosen" in raw and "rejected" in raw)


def read(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield the pair of two answers, or each two of several answers with a verdict; ties and no verdicts are counted.

    Two scores decide where there is no ``winner``; beside one they are the pair's scores. A strength read by its sign
    becomes the pair's scores, the strength and 0.
    """
    if raw.get("answers") is not None:
        yield from _each_two(raw, options, row)
        return
    sides: list[Side] = [(_called(options, name), required(raw, name)) for name in ("first", "second")]
    scores = _scores(raw, options)
    # Null is as good as absent; but where the user names both, a row without a verdict has none.
    judged = "winner" in options.columns or not is_absent(raw.get("winner"))
    if judged or not any(name in raw for name in SCORES):
        outcome = outcome_of(raw.get("winner"), options.winner, _names(options), _called(options, "winner"))
    elif scores is None:
        yield Dropped(reason=UNSCORED)
        return
    else:
        high, low = scores
        outcome = Outcome(verdict=TIE if high == low else "first" if high > low else "second")
    yield _decided(raw.get("prompt"), sides, outcome, scores, options, row)


def _each_two(raw: Mapping[str, object], options: DataOptions, row: int) -> Iterator[Pair | Dropped]:
    """Yield a pair for each two answers, whose verdicts are in the order 1–2, 1–3, …, 2–3, …"""
    answers, verdicts = raw["answers"], required(raw, "winner")
    if not isinstance(answers, list) or not isinstance(verdicts, list):
        value = verdicts if isinstance(answers, list) else answers
        raise RowError(
            f"fields 'answers' and 'winner': {shorten(value)} is {type_name(value)}, where lists are right",
            fix="--columns answers=NAME+NAME+NAME,winner=NAME with a column that lists the verdict on each two of them",
        )
    two = list(combinations([(f"answers[{index}]", each) for index, each in enumerate(answers)], 2))
    if len(verdicts) != len(two):
        raise RowError(
            f"field 'winner': {len(verdicts)} verdicts for {len(answers)} answers, each two of which make {len(two)}",
            fix="give a verdict on each two answers, in the order 1–2, 1–3, …, 2–3, …",
        )
    for index, (sides, value) in enumerate(zip(two, verdicts, strict=True)):
        outcome = outcome_of(value, options.winner, (sides[0][0], sides[1][0]), f"winner[{index}]")
        yield _decided(raw.get("prompt"), sides, outcome, None, options, row)


def _decided(
    prompt: object, sides: Sequence[Side], outcome: Outcome, scores: Scores | None, options: DataOptions, row: int
) -> Pair | Dropped:
    if outcome.verdict in (TIE, "none"):
        return Dropped(reason=TIE if outcome.verdict == TIE else UNDECIDED)
    if scores is None and outcome.strength is not None:
        scores = (outcome.strength, 0.0) if outcome.verdict == "first" else (0.0, outcome.strength)
    if outcome.verdict == "second":
        sides, scores = sides[::-1], None if scores is None else scores[::-1]
    return _pair(prompt, sides[0], sides[1], scores=scores, agreement=outcome.agreement, options=options, row=row)


def _pair(
    prompt: object,
    better: Side,
    worse: Side,
    *,
    scores: Scores | None,
    agreement: float | None,
    options: DataOptions,
    row: int,
) -> Pair:
    """Return the pair of a prompt and two answers, or of two dialogues that repeat it. Raises RowError."""
    spoken = _turn_by_turn(prompt, better, worse)
    if spoken is not None:
        made = pair_of_dialogues(*spoken, scores=scores, row=row)
    elif prompt is None and isinstance(better[1], str) and isinstance(worse[1], str):
        texts, names = (better[1], worse[1]), (better[0], worse[0])
        place = prompt_end(texts, names)
        question = prompt_of(texts[0][:place], names[0], options)
        answers = [(name, answer_of(text[place:], name, options)) for name, text in zip(names, texts, strict=True)]
        made = make_pair(question, answers[0], answers[1], scores=scores, field=names[0], row=row)
    elif prompt is None:
        both = [(name, turns(value, name)) for name, value in (better, worse)]
        made = pair_of_dialogues(both[0], both[1], scores=scores, row=row)
    else:
        made = make_pair(*_alike(prompt, better, worse), scores=scores, row=row)
    return made if agreement is None else replace(made, agreement=agreement)


def _alike(prompt: object, better: Side, worse: Side) -> tuple[Text, Side, Side]:
    """Return prompt and answers in one form: where one of them is messages, strings become a turn."""
    if isinstance(prompt, dict):
        prompt = [prompt]
    if all(isinstance(value, str) for value in (prompt, better[1], worse[1])):
        return text_of(prompt, "prompt"), better, worse
    question: Text
    question = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else turns(prompt, "prompt")
    return question, (better[0], _answer(*better)), (worse[0], _answer(*worse))


def _answer(name: str, value: object) -> object:
    if isinstance(value, str):
        return ({"role": "assistant", "content": value},)
    return (turn(value, name),) if isinstance(value, dict) else turns(value, name)


def _turn_by_turn(prompt: object, better: Side, worse: Side) -> list[tuple[str, tuple[Message, ...]]] | None:
    """Return two dialogues of turns in lists of strings (or in JSON): the user's, and those of each side; else None."""
    lists = [_strings(value) for value in (prompt, better[1], worse[1])]
    questions, *sides = lists
    if not questions or any(not side or len(side) != len(questions) for side in sides):
        return None
    dialogues = []
    for (name, _), side in zip((better, worse), sides, strict=True):
        messages: list[Message] = []
        for index, (question, answer) in enumerate(zip(questions, side or (), strict=True)):
            for role, content in (("user", question), ("assistant", answer)):
                if content is None:
                    where = f"prompt[{index}]" if role == "user" else f"{name}[{index}]"
                    fix = "remove the row, or give a text; --set data.drop_empty=true leaves such rows out"
                    raise RowError(f"field '{where}' is empty", fix=fix, kind="empty")
                messages.append({"role": role, "content": content})
        dialogues.append((name, tuple(messages)))
    return dialogues


def _strings(value: object) -> list[str | None] | None:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not all(each is None or isinstance(each, str) for each in value):
        return None
    return value


def _scores(raw: Mapping[str, object], options: DataOptions) -> Scores | None:
    """Return both scores, higher being better; None where there is none, or no two. Raises RowError for no numbers."""
    values = [raw.get(name) for name in SCORES]
    if any(is_absent(value) for value in values):
        return None
    sign = 1.0 if options.better == "higher" else -1.0
    first, second = (
        sign * (number if (number := number_in(value)) is not None else score_of(value, _called(options, name)))
        for name, value in zip(SCORES, values, strict=True)
    )
    return first, second


def _names(options: DataOptions) -> tuple[str, str]:
    return _called(options, "first"), _called(options, "second")


def _called(options: DataOptions, name: str) -> str:
    return options.columns.get(name, name)

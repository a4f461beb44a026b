"""MT-Bench: questions, grading prompts, and parsing of grades."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.evaluate.judges.answers import Record, read_records
from bench.evaluate.judges.base import Messages

FOLDER = Path(__file__).parent / "data" / "mt_bench"
WITH_REFERENCE = ("math", "reasoning", "coding")
"""Categories in which FastChat shows the judge a reference answer."""
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""FastChat's temperature of a model's answers by category; 0 in the others."""
GRADE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
LOOSE = re.compile(r"\[(\d+\.?\d*)\]")
TOKENS = 2048
"""As many as FastChat gives the judge."""
ANSWER_TOKENS = 1024
"""As many as FastChat gives a model for an answer."""
LEAST, MOST = 1, 10
"""The grades that the judge is asked for."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question of two turns, with the reference's answers where there are any."""

    number: int
    category: str
    turns: tuple[str, str]
    reference: tuple[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """One model's answers to both turns of each question, by the question's number."""

    model: str
    answers: Mapping[int, tuple[str, str]]


def questions() -> list[Question]:
    """Return the 80 questions in their order."""
    references = {
        record["question_id"]: tuple(record["choices"][0]["turns"])
        for record in _stored("reference_answer_gpt-4.jsonl")
    }
    return [
        Question(
            number=record["question_id"],
            category=record["category"],
            turns=(record["turns"][0], record["turns"][1]),
            reference=references.get(record["question_id"]) if record["category"] in WITH_REFERENCE else None,
        )
        for record in _stored("question.jsonl")
    ]


def read_dialogues(path: Path) -> list[Dialogue]:
    """Read answers: ``question_id``, ``model_id`` (or ``model``), and ``turns`` or FastChat's ``choices``.

    Raises:
        UsageError: the file cannot be read, or a record is not two answers to one of the questions.
    """
    known = {question.number for question in questions()}
    dialogues: dict[str, dict[int, tuple[str, str]]] = {}
    for row, record in enumerate(read_records(path), 1):
        number, turns = record.get("question_id"), _turns(record)
        if number not in known or turns is None:
            raise UsageError(
                f"answers {path}, record {row}: not two answers to a question of MT-Bench",
                fix='{"question_id": 81, "model_id": "mine", "turns": ["…", "…"]}; questions are 81 to 160',
            )
        name = str(record.get("model_id") or record.get("model") or path.name.split(".")[0])
        if number in dialogues.setdefault(name, {}):
            raise UsageError(f"answers {path}: {name} answers question {number} twice", fix="keep one of them")
        dialogues[name][number] = turns
    return [Dialogue(model=name, answers=answers) for name, answers in dialogues.items()]


def grade_prompts(question: Question, answers: tuple[str, str], *, turn: int) -> Messages:
    """Return what the judge is shown to grade turn 1 or 2: FastChat's prompt for single answers."""
    name = "single-math-v1" if question.reference else "single-v1"
    prompt = _prompt(name if turn == 1 else f"{name}-multi-turn")
    reference = question.reference or ("", "")
    values = {
        "question": question.turns[0],
        "answer": answers[0],
        "question_1": question.turns[0],
        "question_2": question.turns[1],
        "answer_1": answers[0],
        "answer_2": answers[1],
        "ref_answer_1": reference[0],
        "ref_answer_2": reference[1],
    }
    text = re.sub(r"\{(\w+)\}", lambda m: values[m.group(1)], prompt["prompt_template"])
    return (("system", prompt["system_prompt"]), ("user", text))


def grade_in(text: str) -> float | None:
    """Return the grade that the judge's words name first, as FastChat reads it, also off the scale; None without one.

    What is no number in Python either (``07``) ends FastChat with an error, and is no grade here.
    """
    match = GRADE.search(text) or LOOSE.search(text)
    try:
        return float(ast.literal_eval(match.group(1))) if match else None
    except (SyntaxError, ValueError):
        return None


def pair_prompt() -> Messages:
    """Return FastChat's prompt that compares two answers, with the fields of a ``Template``."""
    prompt = _prompt("pair-v2")
    fields = {"{question}": "{instruction}", "{answer_a}": "{output_1}", "{answer_b}": "{output_2}"}
    text = re.sub(r"\{\w+\}", lambda m: fields[m.group(0)], prompt["prompt_template"])
    return (("system", prompt["system_prompt"]), ("user", text))


def _turns(record: Record) -> tuple[str, str] | None:
    turns = record.get("turns")
    if turns is None and isinstance(record.get("choices"), list) and record["choices"]:
        turns = record["choices"][0].get("turns")
    if not isinstance(turns, Sequence) or len(turns) != 2 or not all(isinstance(turn, str) for turn in turns):
        return None
    return turns[0], turns[1]


def _prompt(name: str) -> dict[str, str]:
    return next(record for record in _stored("judge_prompts.jsonl") if record["name"] == name)


def _stored(name: str) -> list[Record]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").split("\n") if line]

"""Files of models' answers, and pairing them with the baseline's."""

import gzip
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError

Record = dict[str, Any]
"""One record of a JSON file: only the reader that asks for a field knows its type."""
FORMS = "JSON or JSON lines (also .gz), each record with output, and instruction or index"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One model's answers: the questions' numbers, their instructions ("" where unknown), and the answers."""

    model: str
    index: tuple[int, ...]
    instructions: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PairedAnswers:
    """A model's answers beside the baseline's, question for question; ``left_out``: questions only one has."""

    model: str
    baseline: str
    index: tuple[int, ...]
    instructions: tuple[str, ...]
    outputs: tuple[str, ...]
    references: tuple[str, ...]
    left_out: int


def in_order(
    instructions: Sequence[str], outputs: Sequence[str], references: Sequence[str], *, model: str, baseline: str
) -> PairedAnswers:
    """Return answers that stand beside each other already, numbered from 0.

    Raises:
        ValueError: the three are not of one length.
    """
    if not len(instructions) == len(outputs) == len(references):
        raise ValueError(f"{len(instructions)} instructions, {len(outputs)} outputs, {len(references)} references")
    return PairedAnswers(
        model=model,
        baseline=baseline,
        index=tuple(range(len(instructions))),
        instructions=tuple(instructions),
        outputs=tuple(outputs),
        references=tuple(references),
        left_out=0,
    )


def read_answers(path: Path, *, questions: Path | None = None) -> list[Answers]:
    """Read a file of answers, one ``Answers`` for each model (``generator`` or ``model``; else the file's name).

    Args:
        questions: records with ``index`` and ``instruction``, where the answers have only the number.

    Raises:
        UsageError: the file cannot be read, or an answer has no text, or neither instruction nor number.
    """
    records = read_records(path)
    texts = {} if questions is None else _texts(questions)
    models: dict[str, list[tuple[int, str, str]]] = {}
    for number, record in enumerate(records, 1):
        name = str(record.get("generator") or record.get("model") or path.name.split(".")[0])
        rows = models.setdefault(name, [])
        index = record.get("index", len(rows))
        if not isinstance(record.get("output"), str) or not isinstance(index, int):
            raise UsageError(
                f"answers {path}, record {number}: no output, or an index that is not an integer", fix=FORMS
            )
        instruction = record.get("instruction", texts.get(index))
        if not isinstance(instruction, str):
            raise UsageError(
                f"answers {path}, record {number}: no instruction",
                fix="add it, or give the file of instructions with --questions (index, instruction)",
            )
        rows.append((index, instruction, record["output"]))
    return [_answers(name, rows, path=path) for name, rows in models.items()]


def pair_answers(answers: Answers, baseline: Answers) -> PairedAnswers:
    """Put a model's answers beside the baseline's: by instruction, or by number where an instruction repeats.

    Raises:
        UsageError: they have no question in common, or a number has two instructions.
    """
    unique = all(len(set(side.instructions)) == len(side.instructions) for side in (answers, baseline))

    def keys(side: Answers) -> Sequence[Hashable]:
        return side.instructions if unique else side.index

    known = dict(zip(keys(baseline), range(len(baseline.outputs)), strict=True))
    both = [(row, known[key]) for row, key in enumerate(keys(answers)) if key in known]
    if not both:
        raise UsageError(
            f"{answers.model} and the baseline {baseline.model} answer no common question",
            fix=_why_none(answers, baseline),
        )
    for mine, theirs in both:
        if answers.instructions[mine] != baseline.instructions[theirs]:
            raise UsageError(
                f"{answers.model} and {baseline.model}: question {answers.index[mine]} is another in each",
                fix="both files must number the same instructions alike",
            )
    # numbered as in the baseline's file, so that all models share the numbers
    both.sort(key=lambda rows: baseline.index[rows[1]])
    return PairedAnswers(
        model=answers.model,
        baseline=baseline.model,
        index=tuple(baseline.index[theirs] for _, theirs in both),
        instructions=tuple(baseline.instructions[theirs] for _, theirs in both),
        outputs=tuple(answers.outputs[mine] for mine, _ in both),
        references=tuple(baseline.outputs[theirs] for _, theirs in both),
        left_out=len(answers.outputs) + len(baseline.outputs) - 2 * len(both),
    )


def some_of(pairs: PairedAnswers, rows: Iterable[int]) -> PairedAnswers:
    """Return the questions of these rows."""
    rows = [int(row) for row in rows]
    return replace(
        pairs,
        index=tuple(pairs.index[row] for row in rows),
        instructions=tuple(pairs.instructions[row] for row in rows),
        outputs=tuple(pairs.outputs[row] for row in rows),
        references=tuple(pairs.references[row] for row in rows),
    )


def without_spaces(text: str) -> str:
    """Return a text without spaces and case: what is left of two that a person would take for one."""
    return "".join(text.split()).casefold()


def _why_none(answers: Answers, baseline: Answers) -> str:
    known = set(map(without_spaces, baseline.instructions))
    alike = sum(without_spaces(text) in known for text in answers.instructions)
    hint = "both files must answer the same instructions"
    return f"{hint}: {alike} differ in spaces or case alone" if alike else hint


def read_records(path: Path) -> list[Record]:
    """Read a JSON list of records, or one record a line. Raises UsageError."""
    return parsed_records(text_of(path, called=str(path), forms=FORMS), path=path)


def text_of(path: Path, *, called: str, forms: str) -> str:
    """Return the text of a file, which may be gzipped (.gz).

    Args:
        called, forms: what a message calls the file, and what would be right.

    Raises:
        UsageError: it cannot be read, or is damaged.
    """
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except OSError as error:
        raise UsageError(f"{called}: cannot be read ({error.strerror or error})", fix=forms) from error
    except (EOFError, ValueError) as error:
        raise UsageError(f"{called}: damaged ({error})", fix=forms) from error


def parsed_records(text: str, *, path: Path) -> list[Record]:
    """Return the records in ``text``, as ``read_records``. Raises UsageError."""
    try:
        if text.lstrip().startswith("["):
            records = json.loads(text)
        else:
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})", fix="a list of records, or one record a line") from error
    if not all(isinstance(record, dict) for record in records):
        raise UsageError(f"{path}: not a list of records", fix="a list of records, or one record a line")
    return records


def _answers(name: str, rows: Sequence[tuple[int, str, str]], *, path: Path) -> Answers:
    twice = [index for index, times in Counter(row[0] for row in rows).items() if times > 1]
    if twice:
        raise UsageError(
            f"answers {path}: {name} answers question {twice[0]} twice", fix="one answer each question and model"
        )
    index, instructions, outputs = zip(*rows, strict=True)
    return Answers(model=name, index=index, instructions=instructions, outputs=outputs)


def _texts(path: Path) -> dict[int, str]:
    records = read_records(path)
    if not all(isinstance(record.get("instruction"), str) for record in records):
        raise UsageError(f"questions {path}: a record has no instruction", fix="records with index and instruction")
    return {int(record.get("index", row)): record["instruction"] for row, record in enumerate(records)}

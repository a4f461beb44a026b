"""People's votes on pairs of answers: drawing what they are to judge, and the texts that a judge is asked about."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UsageError
from bench.evaluate.judges.answers import PairedAnswers
from bench.evaluate.judges.judgements import Judgements, judgement_table
from bench.evaluate.judges.random_part import random_part
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from pandas import DataFrame

TEXTS = ("instruction", "output_1", "output_2")
PEOPLE = "people (mean)"


def draw_questions(path: Path, out: Path, *, share: float, seed: int, judge: str) -> tuple[int, int]:
    """Write a random part of a file of judgements as CSV without its preferences, for someone else to fill in.

    The same questions are drawn of every model. Rows of several judges of one pair become one.

    Args:
        judge: the name that the column annotator gets.

    Returns:
        How many questions were drawn, and of how many.

    Raises:
        UsageError: a file that cannot be used, or a share that is none.
    """
    table = judgement_table(path)
    name = next((name for name in ("instruction", "index") if name in table), None)
    if name is None:
        raise UsageError(
            f"judgements {path}: no column tells the questions apart; has {', '.join(table)}",
            fix="add instruction or index",
        )
    keys = table[name].astype(str)
    questions = list(dict.fromkeys(keys))
    part = random_part(questions, share=share, seed=seed)
    drawn = {question for question, chosen in zip(questions, part, strict=True) if chosen}
    kept = [each for each in table if each not in ("verdicts", "preference", "annotator", "annotator_dir")]
    rows = table.loc[keys.isin(drawn), kept].drop_duplicates().assign(annotator=judge, preference="")
    write_text_whole(out, rows.to_csv(index=False))
    return len(drawn), len(questions)


def pairs_to_ask(path: Path) -> list[PairedAnswers]:
    """Return the pairs of answers that a file of votes is about, for each model; a pair with several votes once.

    Raises:
        UsageError: the file has no texts, or a question with two pairs of one model.
    """
    table = judgement_table(path)
    missing = [name for name in TEXTS if name not in table]
    if missing:
        raise UsageError(
            f"votes {path}: a judge needs the texts; {', '.join(missing)} is absent",
            fix="columns instruction, output_1 (the baseline's answer), output_2 (the model's), preference",
        )
    name = "model" if "model" in table else "generator_2"
    return [_of_model(rows, path=path, model=str(model)) for model, rows in table.groupby(name, sort=False)]


def mean_vote(people: list[Judgements]) -> list[Judgements]:
    """Return for each model with two people or more the mean of their votes on the questions that any of them saw."""
    from bench.evaluate.judges.agreement import joined_table

    means = []
    for model in dict.fromkeys(each.model for each in people):
        votes = [each for each in people if each.model == model]
        joined = joined_table(votes) if len(votes) > 1 else None
        if joined is None:
            continue
        keys, table = joined
        known = np.flatnonzero(~np.isnan(table).all(axis=0))
        names = [keys[column] for column in known]
        means.append(
            Judgements(
                judge=PEOPLE,
                model=model,
                baseline=votes[0].baseline,
                preferences=np.nanmean(table[:, known], axis=0),
                index=None if isinstance(keys[0], str) else np.array(names, dtype=np.int64),
                lengths=np.full(len(known), np.nan),
                baseline_lengths=np.full(len(known), np.nan),
                instructions=tuple(map(str, names)) if isinstance(keys[0], str) else None,
            )
        )
    return means


def _of_model(rows: "DataFrame", *, path: Path, model: str) -> PairedAnswers:
    unique = rows.drop_duplicates(list(TEXTS))
    blank = unique[list(TEXTS)].isna().any(axis=1)
    if blank.any():
        row = int(rows.index[rows[list(TEXTS)].isna().any(axis=1)][0]) + 1
        raise UsageError(f"votes {path}: row {row} lacks a text", fix="fill instruction, output_1 and output_2")
    twice = unique["instruction"][unique["instruction"].duplicated()]
    if len(twice):
        raise UsageError(
            f"votes {path}: model {model!r} has two pairs of answers to {str(twice.iloc[0])[:60]!r}",
            fix="one pair each question and model: name the models apart",
        )
    numbers = unique["index"].astype(int) if "index" in unique else range(len(unique))
    return PairedAnswers(
        model=model,
        baseline=str(unique["generator_1"].iloc[0]) if "generator_1" in unique else "baseline",
        index=tuple(numbers),
        instructions=tuple(unique["instruction"].astype(str)),
        outputs=tuple(unique["output_2"].astype(str)),
        references=tuple(unique["output_1"].astype(str)),
        left_out=0,
    )

"""Texts of an inspection: the probe's two classes, the texts that are measured, and prompts."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bench.core.artifacts import verify_folder
from bench.core.data_options import AS_IT_IS
from bench.core.manifest import is_complete
from bench.data.embedded_ids import refuse_beyond
from bench.data.encode import encode
from bench.data.encoded_splits import turns_if_templated
from bench.data.files import raw_rows
from bench.data.preferences import read_preferences
from bench.data.row_errors import RowError, shorten
from bench.data.table import data_folder, read_encoded
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle
from bench.errors import RunError, UsageError
from bench.evaluate.gold_reward import load_gold
from bench.inspect.hooks import Text
from bench.suites.pairs import load_prompts, load_scored
from bench.suites.settings import Suite

LONGEST = 512
"""Tokens to which a text is cut, where the model can read as many."""
PROBE_LEAST = 64
"""The probe gets as many texts of each class, also where fewer are measured."""
SHAPE = 'one object a line: {"text": …}, or {"prompt": …, "completion": …}'


@dataclass(frozen=True, kw_only=True, eq=False)
class Behaviour:
    """Scored continuations: prompts in token ids, the score of texts in token ids, and how texts are sampled."""

    prompts: tuple[tuple[int, ...], ...]
    score: Callable[[Sequence[Sequence[int]]], NDArray[np.float64]]
    tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Texts of an inspection. Without ``texts`` the probe's held-out ones are measured. ``source``: origin of both."""

    probe: tuple[Text, ...]
    texts: tuple[Text, ...]
    source: str
    behaviour: Behaviour | None = None

    def digest(self) -> str:
        """Return the SHA-256 of all token ids, classes and prompts."""
        rows = [[t.ids, t.first, t.label, t.group] for part in (self.probe, self.texts) for t in part]
        behaviour = None
        if self.behaviour is not None:
            b = self.behaviour
            behaviour = [b.prompts, b.tokens, b.temperature, b.seed]
        content = json.dumps([len(self.probe), rows, behaviour], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def suite_material(suite: Suite, tokenizer: PreTrainedTokenizerBase, *, count: int, embeddings: int) -> Material:
    """Return the texts of a suite with a gold reward.

    The probe gets the training samples of the highest and the lowest reward, since those between say little either
    way. Validation samples are measured, and test prompts continued.

    Raises:
        UsageError: a token that the model has no embedding for.
    """
    scored = load_scored(suite.folder / "data", "train")
    rows = [
        (value, index, Text(ids=(*row.prompt_ids, *ids), first=len(row.prompt_ids), group=index))
        for index, row in enumerate(scored)
        for ids, value in zip(row.completions, row.scores, strict=True)
        if ids
    ]
    ranked = sorted(rows, key=lambda row: row[:2])
    each = min(max(count, PROBE_LEAST), len(rows) // 2)
    probe = [replace(t, label=False) for *_, t in ranked[:each]] + [replace(t, label=True) for *_, t in ranked[-each:]]
    probe.sort(key=lambda text: text.group)
    measured = [
        Text(ids=(*row.prompt_ids, *row.completions[0]), first=len(row.prompt_ids), group=index)
        for index, row in enumerate(load_scored(suite.folder / "data", "validation"))
        if row.completions[0]
    ]
    gold, evaluation = load_gold(suite.folder / "gold"), suite.evaluation

    def score(texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        return gold.score(tokenizer.batch_decode([list(ids) for ids in texts], skip_special_tokens=True))

    prompts = load_prompts(suite.folder / "data", "test")[: min(count, evaluation.prompts)]
    for ids in [*(text.ids for text in (*probe, *measured)), *prompts]:
        refuse_beyond(ids, tokenizer, embeddings, where=f"suite {suite.name}")
    return Material(
        probe=tuple(probe),
        texts=tuple(_spread(measured, count)),
        source=f"samples of suite {suite.name}, of the highest and the lowest gold reward",
        behaviour=Behaviour(
            prompts=tuple(map(tuple, prompts)),
            score=score,
            tokens=evaluation.tokens,
            temperature=evaluation.temperature,
            seed=evaluation.seed,
        ),
    )


def preference_material(encoded: Encoded, *, count: int, source: str) -> Material:
    """Return the texts of preference data.

    The probe gets the completions of every second prompt, chosen (desirable) against rejected; those of the other
    prompts are measured.
    """
    rows = [text for row in encoded.rows for text in _completions(row)]
    order = {group: index for index, group in enumerate(dict.fromkeys(text.group for text in rows))}
    halves = [[text for text in rows if order[text.group] % 2 == half] for half in (0, 1)]
    return Material(
        probe=tuple(_balanced(_distinct(halves[0]), each=max(count, PROBE_LEAST))),
        texts=tuple(_spread(_distinct(halves[1]), count)),
        source=f"{source}, chosen against rejected completions",
    )


def file_material(
    positive: Path,
    negative: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    count: int,
    longest: int,
    embeddings: int,
) -> Material:
    """Return the texts of two files, as many of each, for the probe alone.

    Rows of one index in both files are a group, so that they are in the same part of every split.
    """
    classes = [read_texts(path, tokenizer, longest=longest, embeddings=embeddings) for path in (positive, negative)]
    each = min(max(count, PROBE_LEAST), *map(len, classes))
    texts = [
        Text(ids=ids, first=first, label=label, group=index)
        for label, rows in zip((True, False), classes, strict=True)
        for index, (ids, first) in enumerate(rows[:each])
    ]
    return Material(probe=tuple(texts), texts=(), source=f"{positive.name} against {negative.name}")


def read_texts(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, longest: int, embeddings: int
) -> list[tuple[tuple[int, ...], int]]:
    """Read texts as token ids, each with the index from which tokens count.

    That is the completion's first token, or the first after BOS. Texts are cut to ``longest`` tokens.

    Raises:
        UsageError: the file cannot be read, or a row has no text, or a token that the model has no embedding for.
    """
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    rows = []
    for _, number, raw in raw_rows(path):
        if isinstance(raw, RowError):
            raise UsageError(f"{path}, row {number}: {raw.problem}", fix=raw.fix)
        prompt, text = _prompt_and_text(raw, where=f"{path}, row {number}")
        head = begin + (tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else [])
        ids = (*head, *tokenizer(text, add_special_tokens=False)["input_ids"])[:longest]
        # Without BOS the first token reads nothing but itself, and is left out where others follow.
        first = len(head) or min(1, len(ids) - 1)
        if len(ids) <= first:
            raise UsageError(
                f"{path}, row {number}: the text is too short to have a counted token",
                fix="give texts of several words",
            )
        refuse_beyond(ids, tokenizer, embeddings, where=f"{path}, row {number}")
        rows.append((ids, first))
    if not rows:
        raise UsageError(f"{path} has no texts", fix=SHAPE)
    return rows


def own_preferences(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, count: int, longest: int, embeddings: int
) -> Material:
    """Return the texts of a file of preferences, plain strings as turns where the tokenizer has a chat template."""
    read = read_preferences(path, turns_if_templated(AS_IT_IS, tokenizer))
    encoded = encode(read, tokenizer, max_length=longest, embeddings=embeddings)
    return preference_material(encoded, count=count, source=path.name)


def run_preferences(content: str, source: str, *, results: Path, count: int) -> Material:
    """Return the texts of a run's training data, read from the results folder.

    Raises:
        UsageError: they are not there. RunError: they are damaged.
    """
    folder = data_folder(content, results=results)
    if not is_complete(folder):
        raise UsageError(
            f"the run's data ({source}) are not in {folder.parent}", fix="name preferences: --data FILE, or --probe"
        )
    if problems := verify_folder(folder, stage="prepare"):
        raise RunError(f"data of the run are damaged: {problems[0]}", fix=f"remove {folder} and run again")
    return preference_material(read_encoded(folder), count=count, source=source)


def _prompt_and_text(raw: object, *, where: str) -> tuple[str, str]:
    if isinstance(raw, dict):
        prompt, text = raw.get("prompt", ""), raw.get("completion", raw.get("text"))
        if isinstance(prompt, str) and isinstance(text, str) and text.strip():
            return prompt, text
    raise UsageError(f"{where}: {shorten(raw)} is no text", fix=SHAPE)


def _completions(row: EncodedPair | EncodedSingle) -> list[Text]:
    sides: tuple[tuple[tuple[int, ...], bool], ...]
    if isinstance(row, EncodedPair):
        sides = ((row.chosen_ids, True), (row.rejected_ids, False))
    else:
        sides = ((row.completion_ids, row.desirable),)
    first = len(row.prompt_ids)
    return [Text(ids=(*row.prompt_ids, *ids), first=first, label=label, group=row.group) for ids, label in sides if ids]


def _distinct(texts: Iterable[Text]) -> list[Text]:
    """Return each completion once a class: one that is chosen in some pairs and rejected in others is in both."""
    return list(dict.fromkeys(texts))


def _balanced(texts: Sequence[Text], *, each: int) -> list[Text]:
    """Return as many texts of each class, spread over the data, in their order."""
    classes = [[text for text in texts if bool(text.label) is label] for label in (True, False)]
    size = min(each, *map(len, classes))
    kept = {id(text) for one in classes for text in _spread(one, size)}
    return [text for text in texts if id(text) in kept]


def _spread(texts: Sequence[Text], count: int) -> list[Text]:
    """Return ``count`` texts at equal distances."""
    if len(texts) <= count:
        return list(texts)
    return [texts[index * len(texts) // count] for index in range(count)]

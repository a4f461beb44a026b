"""The command to type after a data card, and what a run would refuse of the data."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.data_options import DataOptions
from bench.data.card import Card
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.cli.data_tokens import TokenRule

LOSSES = {"pairs": "dpo,ipo,simpo", "unpaired": "kto,bco"}
"""Losses that take the rows of a kind, as a first comparison."""
LEAST_PROMPTS = 10
"""Different prompts that a suite needs which makes validation and test prompts of the data."""
START = "start"
"""The judge that is the start model."""
PLACEHOLDER = "FOLDER"


@dataclass(frozen=True, kw_only=True)
class Next:
    """What to do with a file that was described: lines to read, and a command that works as it stands, if any does."""

    lines: tuple[str, ...]
    command: str | None


@dataclass(frozen=True, kw_only=True)
class Described:
    """A file or folder with the card of each of its parts, and why a run would refuse some of it.

    ``longest_prompt``: tokens; None where they were not counted.
    """

    file: Path
    cards: Sequence[Card]
    refusals: Sequence[UsageError]
    longest_prompt: int | None


def next_step(described: Described, options: DataOptions, rule: "TokenRule | None", *, results: Path) -> Next:
    """Return the run that the data are ready for, or what it would refuse them for.

    Args:
        options: as the user gave them.
    """
    faulty = sum(card.faulty for card in described.cards)
    lines: list[str] = []
    if faulty:
        rows = (
            "1 faulty row: repair it, or leave it"
            if faulty == 1
            else f"{faulty} faulty rows: repair them, or leave them"
        )
        lines.append(f"{rows} out by data.drop_faulty=true, as below")
        options = options.model_copy(update={"drop_faulty": True})
    if rule is None:
        first = (
            "name the start model, and the card counts its tokens and ends with the command that trains on these data:"
        )
        words = [
            "bench",
            "data",
            "describe",
            str(described.file),
            *data_words(options, prefix=""),
            "--model",
            PLACEHOLDER,
        ]
        return Next(lines=(*lines, first), command=shlex.join(words))
    refusal = _refusal(described, rule)
    if refusal is not None:
        return Next(lines=(*lines, f"a run refuses this: {refusal.problem}", f"→ {refusal.fix}"), command=None)
    words = [*_run_words(described, rule), *data_words(options, prefix="data.")]
    words += _length_words(described, rule, options)
    if START in rule.suite.judges and not rule.judges_itself(described.longest_prompt or 0):
        lines.append(
            f"{rule.start.source} cannot judge itself: its context of {rule.start.context} tokens is too short"
        )
        words += [word for judge in rule.suite.judges if judge != START for word in ("--judge", judge)]
    if results != Path("results"):
        words += ["--out", str(results)]
    return Next(lines=(*lines, "the next command:"), command=shlex.join(words))


def data_words(options: DataOptions, *, prefix: str) -> list[str]:
    """Return reading options as they are typed; ``prefix`` stands before a name in ``--set``."""
    words: list[str] = []
    for name, value in options.model_dump(exclude_defaults=True).items():
        if name == "format":
            words += ["--data-format", str(value)]
        elif name == "columns":
            words += ["--columns", ",".join(f"{field}={column}" for field, column in value.items())]
        else:
            words += ["--set", f"{prefix}{name}={_typed(value)}"]
    return words


def _typed(value: object) -> str:
    """Return a value as ``--set`` reads it: words as they are, unless they read as something else in JSON."""
    if not isinstance(value, str | Path):
        return json.dumps(value, ensure_ascii=False)
    text = str(value)
    try:
        json.loads(text)
    except ValueError:
        return text
    return json.dumps(text, ensure_ascii=False)


def _run_words(described: Described, rule: "TokenRule") -> list[str]:
    template = rule.start.chat_template
    return [
        *("bench", "run", "--suite", rule.suite.name, "--model", rule.start.source),
        *(() if template is None else ("--chat-template", template)),
        *("--data", str(described.file), "--loss", LOSSES[described.cards[0].kind], "--sweep", "own"),
    ]


def _length_words(described: Described, rule: "TokenRule", options: DataOptions) -> list[str]:
    words = []
    if rule.max_length != rule.suite.train.max_length:
        words += ["--set", f"train.max_length={rule.max_length}"]
    most = most_prompt_tokens(rule)
    if described.longest_prompt is not None and described.longest_prompt > most:
        words += ["--set", f"data.max_prompt_tokens={most}"]
    return words


def most_prompt_tokens(rule: "TokenRule") -> int:
    """Return the tokens of the longest prompt that can be trained on and, where the suite asks it, be answered."""
    most = rule.max_length - 1
    if rule.suite.turns and rule.start.context is not None:
        most = min(most, rule.start.context - rule.suite.evaluation.tokens)
    return most


def _refusal(described: Described, rule: "TokenRule") -> UsageError | None:
    """Return the first reason for which a run would refuse the model or the data; None: it would take them."""
    if rule.start.refusal is not None:
        return rule.start.refusal
    if described.refusals:
        refusal = described.refusals[0]
        if "chat template, and the tokenizer has none" in refusal.problem:
            return UsageError(refusal.problem, fix=f"--chat-template chatml; or {refusal.fix}")
        return refusal
    if (most := most_prompt_tokens(rule)) < 1:
        return UsageError(
            f"{rule.start.source} reads {rule.start.context} tokens, and an answer takes "
            f"{rule.suite.evaluation.tokens} of suite {rule.suite.name}: no prompt fits",
            fix=f"--set evaluation.tokens={max(1, (rule.start.context or most) // 2)}",
        )
    cards = described.cards
    labels = {name for card in cards for name, count in card.labels.items() if count}
    if cards[0].kind == "unpaired" and len(labels) == 1:
        return UsageError(
            f"all rows are {next(iter(labels))} answers: there is no preference to learn",
            fix="give rows of both labels, or pairs; to imitate demonstrations, see «Demonstrations» in docs/data.md",
        )
    prompts = sum(card.prompts for card in cards)
    if rule.suite.judges and prompts < LEAST_PROMPTS:
        return UsageError(
            f"there are {prompts} different prompts, to be parted into training, validation and test prompts",
            fix="give at least ten rows with different prompts",
        )
    return None

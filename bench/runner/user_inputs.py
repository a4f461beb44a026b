"""Owns what a user brings to a suite: model, data, judges; and what judges are shown of the data that are held out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from bench.core.artifacts import Note
from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.contamination import contamination
from bench.data.parts import Parts, encoded_parts
from bench.data.rows import Message
from bench.data.template import prompt_messages_ids, text_ids, with_bos
from bench.data.tokens import Encoded, EncodedPair, Ids, pairs_in, singles_in
from bench.errors import UsageError, escape_unprintable
from bench.evaluate.judges.base import AnswerPair, Judge
from bench.evaluate.judges.bradley_terry import Labelled, fitted_judge
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from bench.evaluate.judges.factory import judges_of as make_judges

FRACTIONS = (0.8, 0.1, 0.1)
"""Share of a user's own prompts that is trained on, selected by and reported on."""
HELD_OUT = ("validation", "test")
Target = Literal["reward", "win_rate", "auto"]


@dataclass(frozen=True, kw_only=True)
class UserInputs:
    """What a user brings to a suite, as typed; None and empty: the suite's own.

    ``options``: how ``data`` are read and what is left out of them. ``judges`` are who compares answers, ``prompts`` is
    a file of instructions to report on: where a suite leaves both to the user.
    """

    model: str | None = None
    chat_template: str | None = None
    data: tuple[Path, ...] = ()
    options: DataOptions = AS_IT_IS
    judges: tuple[str, ...] = ()
    prompts: Path | None = None

    def as_turns(self, tokenizer: Any) -> "UserInputs":
        """Take plain strings as a turn and its answer, where the model has a chat template and nothing was said."""
        if self.options.form != "auto" or getattr(tokenizer, "chat_template", None) is None:
            return self
        return replace(self, options=self.options.model_copy(update={"form": "messages"}))

    def read(self, tokenizer: Any, *, max_length: int, note: Note) -> Parts:
        """Return the data in three parts, encoded. Raises as ``encoded_parts``."""
        return encoded_parts(
            self.data,
            self.options,
            tokenizer,
            max_length=max_length,
            fractions=FRACTIONS,
            template=self.chat_template,
            note=note,
        )

    @property
    def data_name(self) -> str:
        """The data sets as messages name them."""
        return " + ".join(escape_unprintable(path.name) for path in self.data)

    @property
    def data_source(self) -> str:
        """The data sets as records name them: with what was said of reading them, where that is more than nothing."""
        said = self.options.model_dump(exclude_defaults=True)
        texts = [f"{name}={value.name if isinstance(value, Path) else value}" for name, value in said.items()]
        return f"{self.data_name} ({escape_unprintable(', '.join(texts))})" if texts else self.data_name


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What one held-out part asks: prompts as token ids and in words, each once; and its pairs in words.

    Of a pair the preferred answer is first; unpaired data have none.
    """

    prompts: tuple[Ids, ...]
    instructions: tuple[str, ...]
    held_out: tuple[AnswerPair, ...]

    def first(self, count: int) -> "Questions":
        """The first ``count`` of each."""
        return Questions(
            prompts=self.prompts[:count],
            instructions=self.instructions[:count],
            held_out=self.held_out[:count],
        )


def questions_of(parts: Parts, tokenizer: Any, *, prompts: Path | None) -> dict[str, Questions]:
    """Return what validation and test ask.

    Args:
        prompts: a file of instructions to report on, in place of the data's own test prompts.

    Raises:
        UsageError: a part without rows, or a file that is none of instructions.
    """
    rows = {split: parts.split.parts[split].rows for split in ("train", *HELD_OUT)}
    short = [split for split, held in rows.items() if not held]
    if short:
        raise UsageError(
            f"the data leave no prompt for {' and '.join(short)}", fix="give at least ten rows with different prompts"
        )
    found = {}
    for split in HELD_OUT:
        asked = dict.fromkeys(row.prompt_ids for row in rows[split])
        named = {ids: parts.words[ids] for ids in asked}
        if split == "test" and prompts is not None:
            named = _from_file(prompts, tokenizer)
        found[split] = Questions(
            prompts=tuple(named),
            instructions=tuple(named.values()),
            held_out=_shown(pairs_in(rows[split]), parts.words, tokenizer),
        )
    return found


def tell_overlap(parts: Parts, questions: Mapping[str, Questions], *, note: Note) -> None:
    """Say how many test prompts the training prompts hold, whole or by runs of words; nothing where none is touched."""
    trained_on = dict.fromkeys(row.prompt_ids for row in parts.split.parts["train"].rows)
    found = contamination([parts.words[ids] for ids in trained_on], questions["test"].instructions)
    if found.touched:
        said = f"{found.exact} are training prompts, {found.mostly} mostly so (by runs of {found.run} words)"
        note(
            f"contamination: of {found.evaluation} test prompts {said}, {found.touched} share a run with one; "
            "`bench data describe --against` shows them"
        )


def content_of(parts: Parts, questions: Mapping[str, Questions]) -> str:
    """Return the SHA-256 of everything held out."""
    content = [[questions[split].prompts, parts.split.parts[split].content_hash] for split in HELD_OUT]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def judges_of(names: Sequence[str], *, model: Path, train: Encoded, tokenizer: Any, source: str) -> tuple[Judge, ...]:
    """Make judges from their names: ``fitted``, ``start``, or as ``bench evaluate --judge`` takes them.

    Raises:
        UsageError: no judge, one that cannot be made, or two of one name.
    """
    if not names:
        raise UsageError("there is no judge", fix="--judge fitted")
    special = {
        "fitted": lambda: fitted_judge(_labelled(train, tokenizer), source=source),
        "start": lambda: judge_of(JudgeSpec(kind="lm", folder=model, name="start")),
    }
    return tuple(make_judges(names, special=special))


def target_of(asked: Target, judges: Sequence[Judge]) -> Target:
    """Return what chooses: J where the first judge gives rewards, else its win rate, unless one of them is asked for.

    A reward without a price of KL grows for as long as the policy runs away, and the more so a win rate by a reward.

    Raises:
        UsageError: rewards are asked for, and the first judge only compares.
    """
    rewards = judges[0].score is not None
    if asked == "auto":
        return "reward" if rewards else "win_rate"
    if asked == "reward" and not rewards:
        raise UsageError(
            f"evaluation.target=reward: judge {judges[0].name} compares answers and gives none a reward",
            fix="--set evaluation.target=win_rate, or --judge fitted first",
        )
    return asked


def _labelled(train: Encoded, tokenizer: Any) -> Labelled:
    pairs, singles = pairs_in(train.rows), singles_in(train.rows)
    if pairs:
        return Labelled(
            prompts=[pair.group for pair in pairs],
            better=_answers([pair.chosen_ids for pair in pairs], tokenizer),
            worse=_answers([pair.rejected_ids for pair in pairs], tokenizer),
        )
    return Labelled(
        prompts=[single.group for single in singles],
        better=_answers([single.completion_ids for single in singles], tokenizer),
        desirable=[single.desirable for single in singles],
    )


def _shown(pairs: Sequence[EncodedPair], words: Mapping[Ids, str], tokenizer: Any) -> tuple[AnswerPair, ...]:
    better = _answers([pair.chosen_ids for pair in pairs], tokenizer)
    worse = _answers([pair.rejected_ids for pair in pairs], tokenizer)
    return tuple(
        AnswerPair(instruction=words[pair.prompt_ids], first=one, second=other)
        for pair, one, other in zip(pairs, better, worse, strict=True)
    )


def _answers(ids: Sequence[Ids], tokenizer: Any) -> list[str]:
    """Answers in words, as those of samples are: a template's words after them are no part."""
    return [text.strip() for text in tokenizer.batch_decode(list(map(list, ids)), skip_special_tokens=True)]


def _from_file(path: Path, tokenizer: Any) -> dict[Ids, str]:
    """Instructions of a file of records, encoded as a user's one turn, or as plain text without a chat template."""
    from bench.evaluate.judges.answers import read_records

    found: dict[Ids, str] = {}
    for number, record in enumerate(read_records(path), start=1):
        text = record.get("instruction", record.get("prompt"))
        where = f"{path}, record {number}"
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"{where}: it has no instruction", fix='write {"instruction": "…"} a record')
        if getattr(tokenizer, "chat_template", None) is None:
            ids = with_bos(text_ids([text], tokenizer)[text], tokenizer, where=where)
        else:
            turn = cast(Message, {"role": "user", "content": text})
            ids = prompt_messages_ids([turn], tokenizer, where=where)
        found.setdefault(ids, text)
    return found

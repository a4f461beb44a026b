"""User-supplied inputs of a suite: model, data, judges and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.artifacts import Note
from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.encoded_splits import EncodedSplits, encode_splits, turns_if_templated
from bench.data.template import Tokenizer
from bench.errors import escape_unprintable
from bench.suites.settings import Suite

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FRACTIONS = (0.8, 0.1, 0.1)
"""Share of a user's own prompts that is trained on, selected by and reported on."""


def encoding_options(suite: Suite, options: DataOptions, tokenizer: Tokenizer) -> DataOptions:
    """Return the options by which a suite reads the user's rows: the one rule for runs and for what counts tokens.

    In a suite of dialogues a plain string is a turn or its answer, if the tokenizer has a chat template and the user
    chose no form; in others it stays plain text.
    """
    return turns_if_templated(options, tokenizer) if suite.turns else options


@dataclass(frozen=True, kw_only=True)
class UserInputs:
    """Model, data and judges as the user named them. None and empty: the suite's own.

    ``options``: how ``data`` are read and which rows are left out. ``judges`` compare answers, ``strong``
    corrects the first of them, and ``prompts`` is a file of instructions to report on; all are for suites without a
    reward of their own. ``most``: rows of each file that are read, the first ones; None: all.
    """

    model: str | None = None
    chat_template: str | None = None
    data: tuple[Path, ...] = ()
    options: DataOptions = AS_IT_IS
    judges: tuple[str, ...] = ()
    strong: str | None = None
    prompts: Path | None = None
    most: int | None = None

    def read(
        self, suite: Suite, tokenizer: PreTrainedTokenizerBase, *, max_length: int, embeddings: int, note: Note
    ) -> EncodedSplits:
        """Return the data in three parts, encoded as the suite encodes them. Raises as ``encode_splits``."""
        return encode_splits(
            self.data,
            encoding_options(suite, self.options, tokenizer),
            tokenizer,
            max_length=max_length,
            embeddings=embeddings,
            fractions=FRACTIONS,
            template=self.chat_template,
            most=self.most,
            note=note,
        )

    @property
    def data_name(self) -> str:
        """Names of the data sets, as messages show them."""
        return " + ".join(escape_unprintable(path.name) for path in self.data)

    @property
    def data_source(self) -> str:
        """Names of the data sets as records show them, with the reading options that differ from the default."""
        changed = self.options.model_dump(exclude_defaults=True)
        texts = [f"{name}={value.name if isinstance(value, Path) else value}" for name, value in changed.items()]
        return f"{self.data_name} ({escape_unprintable(', '.join(texts))})" if texts else self.data_name

"""Tokenizer of the model that a run would start from, opened as the run opens it, without the weights."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.core.artifacts import silent
from bench.errors import UsageError
from bench.models.architecture import check_architecture
from bench.models.chat_templates.apply import OWN, templated
from bench.models.files import copy_tokenizer
from bench.models.gguf import gguf_file, write_tokenizer
from bench.models.loading import context_of, find_model, load_tokenizer
from bench.models.sources import outline_source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class StartTokenizer:
    """A tokenizer and what else of its model decides how rows are encoded.

    ``source`` and ``chat_template`` as the user named them; ``context``: tokens that the model reads, None where no
    file states it. ``refusal``: why a run would not start from this model, None where it would.
    """

    tokenizer: "PreTrainedTokenizerBase"
    source: str
    chat_template: str | None
    context: int | None
    refusal: UsageError | None

    @property
    def has_template(self) -> bool:
        """Whether messages can become text."""
        return getattr(self.tokenizer, "chat_template", None) is not None


def start_tokenizer(source: str, *, results: Path, chat_template: str | None = None) -> StartTokenizer:
    """Return the tokenizer that a run with ``--model`` and ``--chat-template`` would encode its rows with.

    A GGUF file is read for its tokenizer alone, by the function that its conversion uses, and nothing of it is written.
    A folder with a tokenizer and no weights is read too, for numbers alone: ``refusal`` says what it lacks.

    Args:
        results: the folder in which ``run:KEY`` is looked for.

    Raises as ``find_source`` and ``load_tokenizer``.
    """
    refusal = None
    with TemporaryDirectory() as place:
        light = Path(place) / "tokenizer"
        light.mkdir()
        if (file := gguf_file(Path(source))) is not None:
            context = write_tokenizer(file, light)
        else:
            folder, refusal = _folder_of(source, results, Path(place))
            context = context_of(folder) if (folder / "config.json").is_file() else None
            _copy_light(folder, light)
        if chat_template is not None and chat_template != OWN:
            light = templated(light, chat_template, results=Path(place), note=silent)
        tokenizer = load_tokenizer(light)
    return StartTokenizer(
        tokenizer=tokenizer, source=source, chat_template=chat_template, context=context, refusal=refusal
    )


def _folder_of(source: str, results: Path, scratch: Path) -> tuple[Path, UsageError | None]:
    folder = Path(source)
    if not folder.is_dir():
        return outline_source(source, results=results, scratch=scratch).folder, None
    try:
        check_architecture(find_model(source))
        return folder, None
    except UsageError as refusal:
        if not (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
            raise
        return folder, refusal


def _copy_light(folder: Path, light: Path) -> None:
    """Copy what a tokenizer is read from: its files, its templates, and the config that names its class."""
    copy_tokenizer(folder, light)
    if (folder / "config.json").is_file():
        shutil.copyfile(folder / "config.json", light / "config.json")

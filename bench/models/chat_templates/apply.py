"""Copies of a model folder with another chat template: linked weights, the same tokenizer."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.artifacts import Note, make_sound
from bench.data.end_of_turn import ANSWER, QUESTION
from bench.data.template import answer_ids, prompt_messages_ids
from bench.errors import UsageError, did_you_mean
from bench.models.files import NAMED_TEMPLATES, copy_tokenizer
from bench.models.loading import load_tokenizer, model_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OWN = "own"
NAMES = ("chatml", "llama-3", "zephyr", "alpaca", "plain")
FILE = "chat_template.jinja"
LEFT_OUT = ("manifest.json", "chat_template.json", FILE)
COPIED = (".json", ".txt")
"""Endings of files that are copied besides a tokenizer's: configs, generation settings, indices of shards."""
DEFAULT = "default"
LONGEST = 1 << 20
"""Bytes of a template's file at most."""


def templated(folder: Path, template: str, *, results: Path, note: Note, weights: bool = True) -> Path:
    """Return a folder of the same model whose tokenizer has another chat template.

    Args:
        template: ``own`` for the model's, one of ``NAMES``, or a file.
        weights: False: a folder without them, for a plan.

    Raises:
        UsageError: no such template, one that Jinja refuses, or one whose prompt is not the beginning of its dialogue.
    """
    if template == OWN:
        return folder
    text = read_template(template)
    if _adds_bos(load_tokenizer(folder)) and "bos_token" not in text:
        # A dialogue is encoded without the tokenizer's own special tokens, so the template has to write it.
        text = "{{- bos_token -}}" + text
    named = named_templates(folder)
    # Only a folder with named templates gets another name than before, when they were left out.
    more = f" {json.dumps(named, sort_keys=True)}" if named else ""
    content = model_hash(folder) if weights else ""
    key = hashlib.sha256(f"{content} {text}{more}".encode()).hexdigest()[:16]
    target = results / "models" / f"templated-{key}"

    def write(partial: Path) -> None:
        _fill(folder, partial, text, named, weights=weights)
        check_template(load_tokenizer(partial), template)

    make_sound(target, write, note=note)
    return target


def read_template(template: str) -> str:
    """Return a template's text. Raises UsageError: neither a name nor a file of text."""
    if template in NAMES:
        return files("bench.models.chat_templates").joinpath(f"{template}.jinja").read_text(encoding="utf-8")
    path = Path(template)
    if not path.is_file():
        raise UsageError(
            f"--chat-template {template!r} is neither a template's name nor a file",
            fix=did_you_mean(template, (OWN, *NAMES)),
        )
    try:
        content = path.read_bytes()
        if len(content) > LONGEST:
            raise ValueError(f"it has {len(content):,} bytes")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"--chat-template {template}: {error}", fix="give a file of Jinja in UTF-8") from error


def check_template(tokenizer: "PreTrainedTokenizerBase", template: str) -> None:
    """Raise UsageError where a template cannot write a question and its answer, token by token one after the other."""
    where = f"--chat-template {template}"
    prompt = prompt_messages_ids(QUESTION, tokenizer, where=where)
    if not answer_ids(QUESTION, ANSWER, prompt, tokenizer, where=where):
        raise UsageError(f"{where} writes nothing for an answer", fix="write the messages of the assistant too")


def _adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a")["input_ids"][:1] == [bos]


def named_templates(folder: Path) -> dict[str, str]:
    """Return a folder's chat templates besides the default one, from its files or its tokenizer's settings."""
    files_there = sorted((folder / NAMED_TEMPLATES).glob("*.jinja"))
    named = {path.stem: path.read_text(encoding="utf-8") for path in files_there}
    settings = folder / "tokenizer_config.json"
    if named or (folder / FILE).is_file() or not settings.is_file():
        return named
    listed = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
    if not isinstance(listed, list):
        return {}
    return {str(each["name"]): str(each["template"]) for each in listed if each["name"] != DEFAULT}


def _fill(folder: Path, partial: Path, text: str, named: Mapping[str, str], *, weights: bool) -> None:
    copy_tokenizer(folder, partial)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            if weights:
                _link(path.resolve(), partial / path.name)
        elif path.is_file() and path.suffix in COPIED:
            shutil.copyfile(path, partial / path.name)
    for name in LEFT_OUT:
        (partial / name).unlink(missing_ok=True)
    for name, template in named.items():
        (partial / NAMED_TEMPLATES).mkdir(exist_ok=True)
        (partial / NAMED_TEMPLATES / f"{Path(name).name}.jinja").write_text(template, encoding="utf-8")
    config = partial / "tokenizer_config.json"
    if config.is_file():
        settings = json.loads(config.read_text(encoding="utf-8"))
        if settings.pop("chat_template", None) is not None:
            config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (partial / FILE).write_text(text, encoding="utf-8")


def _link(weights: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot."""
    try:
        os.link(weights, target)
    except OSError:
        shutil.copyfile(weights, target)

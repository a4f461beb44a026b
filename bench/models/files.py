"""Checks of the files in a model folder, and copying and comparing its tokenizer."""

import json
import shutil
from pathlib import Path

from bench.errors import UsageError

READ = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files of JSON in which transformers looks for ``auto_map``, the name of Python code to run."""
INDEX = "model.safetensors.index.json"
NAMED_TEMPLATES = "additional_chat_templates"
"""Folder of chat templates besides the default one, a file each."""
TOKENIZER = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("*.model", "*.tiktoken", "tekken.json", "normalizer.json", "*.jinja", "chat_template.json"),
    f"{NAMED_TEMPLATES}/*.jinja",
)
"""Files of a tokenizer, by pattern."""
GENERATION = "generation_config.json"
"""How a model writes by default, and the tokens that end its texts."""


def check_model_files(folder: Path) -> None:
    """Refuse a folder that is no causal language model of transformers' own, in safetensors.

    Raises:
        UsageError: no config, a damaged one, code of its own, an adapter alone, or weights in files elsewhere.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise UsageError(
                f"model folder {folder} holds an adapter and no model",
                fix="merge it first: PeftModel.from_pretrained(…).merge_and_unload().save_pretrained(folder)",
            )
        raise UsageError(f"model folder {folder} has no config.json", fix="save it with save_pretrained()")
    for name in READ:
        if (folder / name).is_file():
            _refuse_code(folder, name, _read(folder / name))
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"model folder {folder} has an adapter beside the model, which transformers would load too",
            fix="merge the adapter, or move adapter_config.json away",
        )
    if (folder / INDEX).is_file():
        _check_index(folder)


def copy_tokenizer(folder: Path, to: Path) -> bool:
    """Copy a model folder's tokenizer and chat templates into another folder; return whether there was one.

    Byte by byte: what a library would write of the tokenizer that it has read may differ.
    """
    paths = sorted({path for pattern in TOKENIZER for path in folder.glob(pattern) if path.is_file()})
    for path in paths:
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return any(path.name in ("tokenizer.json", "tokenizer_config.json") for path in paths)


def copy_named_templates(folder: Path, to: Path) -> None:
    """Copy the chat templates besides the default one that another folder does not have itself."""
    for path in sorted((folder / NAMED_TEMPLATES).glob("*.jinja")):
        target = to / NAMED_TEMPLATES / path.name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def same_tokenizer(folder: Path, other: Path) -> bool:
    """Return whether two model folders have one tokenizer, so that token ids of the one are the other's."""
    one, two = folder / "tokenizer.json", other / "tokenizer.json"
    return one.is_file() and two.is_file() and one.read_bytes() == two.read_bytes()


def _refuse_code(folder: Path, name: str, config: dict[str, object]) -> None:
    if "auto_map" in config:
        raise UsageError(
            f"model folder {folder} brings code of its own ({name} has auto_map: {_first(config['auto_map'])}), "
            "which is never run",
            fix="take an architecture that transformers has itself; where it has this one, remove auto_map",
        )


def _check_index(folder: Path) -> None:
    shards = _read(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict):
        raise UsageError(f"{folder / INDEX} has no weight_map", fix="save the model again")
    for name in dict.fromkeys(map(str, shards.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UsageError(
                f"{folder / INDEX} names {name!r}, no *.safetensors in the folder", fix="save the model again"
            )
        if not (folder / name).is_file():
            raise UsageError(f"model folder {folder}: {name} is missing, which {INDEX} names", fix="copy the file too")


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}", fix="save the model again") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not a JSON object", fix="save the model again")
    return content


def _first(value: object) -> str:
    return str(next(iter(value.values()), value) if isinstance(value, dict) else value)[:80]

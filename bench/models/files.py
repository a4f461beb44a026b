"""Checks of the files in a model folder, and copying and comparing its tokenizer."""

import json
import shutil
from pathlib import Path

from bench.errors import UsageError

READ = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files of JSON in which transformers looks for ``auto_map``, the name of Python code to run."""
INDEX = "model.safetensors.index.json"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "*.jinja")
"""Files of a tokenizer, by pattern."""


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


def copy_tokenizer(folder: Path, to: Path) -> None:
    """Copy a model folder's tokenizer into another folder."""
    for path in sorted({path for pattern in TOKENIZER for path in folder.glob(pattern)}):
        shutil.copyfile(path, to / path.name)


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

"""Conversion of GGUF files to float32 model folders with the tokenizer that the file describes."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.core.artifacts import Note, make_sound
from bench.errors import RunError, UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Part = TypeVar("Part")
MAGIC = b"GGUF"
DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Names of pre-tokenizers that part every digit from its neighbours first, and split as GPT-2 does then."""
GPT2 = ("gpt-2", "mpt", "olmo", "jais", "phi-2", "roberta-bpe")
"""Names of pre-tokenizers that split as GPT-2 does."""
SCALED_ROTARY = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors of the file, and of no model of transformers: factors of rotary frequencies."""
PROBE = "Tom's 2 cats  ate 365 fish; then, at 10:45, they slept."
UNSTABLE = (
    "transformers_version",
    "_name_or_path",
    "_model_name_or_path",
    "name_or_path",
    "is_local",
    "local_files_only",
    "quantization_config",
)
"""Fields that say who converted what, where; they are no part of a model."""
OTHERWISE = "take the model's own folder with *.safetensors instead"


def gguf_file(path: Path) -> Path | None:
    """Return the GGUF file that ``path`` is, or is the folder of; None where it is something else.

    Raises:
        UsageError: a folder with several of them.
    """
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise UsageError(f"model {str(path)!r}: no such file", fix="check the path of the GGUF file")
        return path
    if not path.is_dir() or any(path.glob("*.safetensors")):
        return None
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".gguf")
    if len(files) > 1:
        named = ", ".join(file.name for file in files[:6])
        raise UsageError(f"model folder {path} holds {len(files)} GGUF files: {named}", fix=f"name one: {files[0]}")
    return files[0] if files else None


def converted_folder(file: Path, *, results: Path, note: Note) -> Path:
    """Return ``results/models/gguf-<SHA-256 of the file>``, written now if it is not there.

    Raises:
        UsageError: no GGUF file, a part of one, a tokenizer that is not known exactly, or the package is missing.
        RunError: the file is damaged, or holds a model that transformers does not read.
    """
    _check_magic(file)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = results / "models" / f"gguf-{digest[:16]}"

    def write(partial: Path) -> None:
        convert(file, partial)
        note(f"{file.name}: converted to a folder of transformers, in float32: {folder}")

    make_sound(folder, write, note=note)
    return folder


def convert(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file to ``folder``: float32 safetensors, config, tokenizer and chat template.

    Raises as ``converted_folder``.
    """
    fields, numbers = _described(file)
    model = _read_quietly(_read_model, file)
    _check_weights(model, numbers, file)
    tokenizer = _checked_tokenizer(file, fields)
    if (context := getattr(model.config, "max_position_embeddings", None)) is not None:
        tokenizer.model_max_length = context
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        _keep_stable(folder / name)


def write_tokenizer(file: Path, folder: Path) -> int | None:
    """Write the tokenizer alone as ``convert`` writes it; return the model's context in tokens, if the file states it.

    Raises as ``convert`` does for a tokenizer.
    """
    _check_magic(file)
    fields, _ = _described(file)
    _checked_tokenizer(file, fields).save_pretrained(folder)
    context = fields.get(f"{fields.get('general.architecture')}.context_length")
    return context if isinstance(context, int) else None


def outline(file: Path, folder: Path) -> None:
    """Write configuration and tokenizer of a GGUF file to ``folder``; no weight is read. Raises as ``convert``."""
    write_tokenizer(file, folder)
    _read_quietly(_read_config, file).save_pretrained(folder)


def _read_config(file: Path) -> "PretrainedConfig":
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)


def _checked_tokenizer(file: Path, fields: dict[str, object]) -> "PreTrainedTokenizerBase":
    tokenizer = _read_quietly(_read_tokenizer, file)
    _set_splits(tokenizer, fields, file)
    _set_templates(tokenizer, fields)
    _check_tokenizer(tokenizer, fields, file)
    return tokenizer


def _read_quietly(read: Callable[[Path], Part], file: Path) -> Part:
    from bench.utils.isolation import quiet

    try:
        with quiet():
            return read(file)
    except Exception as error:  # a reader of damaged bytes may end in any way
        raise RunError(
            f"GGUF file {file} cannot be read as a causal model: {type(error).__name__}: {str(error)[:300]}",
            fix=f"the file is truncated, or of an architecture that transformers does not read from GGUF; {OTHERWISE}",
        ) from error


def _check_magic(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise UsageError(f"{file} is not a GGUF file: it does not begin with GGUF", fix="check the path")


def _described(file: Path) -> tuple[dict[str, object], dict[str, int]]:
    """Return the file's short fields by name, and how many numbers each tensor has."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UsageError(
            f"{file}: a GGUF file is read by the package gguf, which is not installed",
            fix="pip install 'lossbench[gguf]'",
        ) from error
    try:
        reader = GGUFReader(file)
        fields = {name: field.contents() for name, field in reader.fields.items() if len(field.data) == 1}
        numbers = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    except Exception as error:  # as above
        raise RunError(
            f"GGUF file {file} is damaged: {type(error).__name__}: {str(error)[:300]}", fix="copy or download it again"
        ) from error
    parts = fields.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UsageError(f"{file} is one of {parts} parts", fix="llama-gguf-split --merge FIRST WHOLE")
    if scaled := sorted(set(SCALED_ROTARY) & set(numbers)):
        raise UsageError(
            f"{file} scales its rotary frequencies ({scaled[0]}), which transformers leaves out when it reads GGUF",
            fix=OTHERWISE,
        )
    return fields, numbers


def _read_tokenizer(file: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True, trust_remote_code=False
    )


def _read_model(file: Path) -> "PreTrainedModel":
    """Return the plain model in float32, as transformers reads it."""
    import torch
    from transformers import AutoModelForCausalLM

    packed, report = AutoModelForCausalLM.from_pretrained(
        file.parent,
        dtype=torch.float32,
        output_loading_info=True,
        gguf_file=file.name,
        local_files_only=True,
        trust_remote_code=False,
    )
    if report["missing_keys"]:
        raise ValueError(f"{len(report['missing_keys'])} weights are missing, as {sorted(report['missing_keys'])[0]}")
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(packed.state_dict(), strict=True, assign=True)
    plain.tie_weights()
    plain.generation_config = packed.generation_config
    return plain


def _check_weights(model: "PreTrainedModel", numbers: dict[str, int], file: Path) -> None:
    """Refuse a model that leaves out weights of the file: whatever has no place is passed over by the reader."""
    import torch

    wrong = sorted(name for name, weight in model.named_parameters() if weight.dtype != torch.float32)
    made = sum(weight.numel() for weight in model.parameters())
    stored = sum(numbers.values())
    tied = numbers.get("output.weight", 0) if model.config.tie_word_embeddings else 0
    if wrong or made not in (stored, stored - tied):
        raise RunError(
            f"GGUF file {file} holds {stored:,} numbers, and transformers makes a model of {made:,} of it"
            + (f"; {wrong[0]} is not in float32" if wrong else ""),
            fix=OTHERWISE,
        )


def _set_templates(tokenizer: "PreTrainedTokenizerBase", fields: dict[str, object]) -> None:
    """Give the tokenizer the file's named chat templates too (``tokenizer.chat_template.NAME``)."""
    start = "tokenizer.chat_template."
    named = {name.removeprefix(start): str(text) for name, text in fields.items() if name.startswith(start)}
    if named and isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = {"default": tokenizer.chat_template, **named}


def _set_splits(tokenizer: "PreTrainedTokenizerBase", fields: dict[str, object], file: Path) -> None:
    """Make the tokenizer part a text as the file says (``tokenizer.ggml.pre``): transformers knows few of the names."""
    from tokenizers import pre_tokenizers

    if fields.get("tokenizer.ggml.model") != "gpt2":
        return
    name = fields.get("tokenizer.ggml.pre")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend = tokenizer.backend_tokenizer
    if name in DIGITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    elif name in GPT2:
        backend.pre_tokenizer = byte_level
    elif json.loads(backend.to_str())["pre_tokenizer"]["type"] != "Sequence":
        problem = "does not say how" if name is None else f"says {name!r}, which is not known here:"
        raise UsageError(
            f"{file} {problem} a text is parted before it becomes tokens (tokenizer.ggml.pre), "
            "so its tokens would be guessed",
            fix=OTHERWISE,
        )


def _check_tokenizer(tokenizer: "PreTrainedTokenizerBase", fields: dict[str, object], file: Path) -> None:
    """Refuse a tokenizer that is not what the file says: its text must come back, and BOS begin it or not."""
    problem = None
    bos, eos = (fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    ids = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(PROBE)["input_ids"]
    adds = bool(fields.get("tokenizer.ggml.add_bos_token", fields.get("tokenizer.ggml.model") == "llama"))
    if tokenizer.decode(ids).strip() != PROBE:
        problem = f"gives {tokenizer.decode(ids)!r} back for {PROBE!r}"
    elif eos is None or tokenizer.eos_token_id != eos or tokenizer.bos_token_id != bos:
        problem = f"has BOS {tokenizer.bos_token_id} and EOS {tokenizer.eos_token_id}, where the file says {bos}, {eos}"
    elif (whole[:1] == [bos]) != adds:
        problem = f"{'leaves BOS out' if adds else 'adds BOS'}, against the file"
    elif fields.get("tokenizer.ggml.add_space_prefix") is False and tokenizer.decode(ids) != PROBE:
        problem = "puts a space before a text, against the file"
    if problem is not None:
        raise UsageError(f"{file}: its tokenizer, as transformers reads it, {problem}", fix=OTHERWISE)


def _keep_stable(path: Path) -> None:
    """Take out of a JSON file what differs between machines and versions, so that a file has one conversion."""
    if not path.is_file():
        return
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: value for name, value in settings.items() if name not in UNSTABLE}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

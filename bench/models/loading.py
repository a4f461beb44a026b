"""Models and tokenizers: loading, saving, hashing by content, and LoRA."""

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.specs import LoraSpec
from bench.errors import RunError, UsageError
from bench.models.architecture import check_architecture, read_config, register_table_model
from bench.models.context import context_length
from bench.models.files import GENERATION, check_model_files, copy_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def save_checkpoint(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path, *, start: Path | None = None
) -> None:
    """Save in the ordinary transformers format, adapters merged, with the tokenizer.

    Args:
        start: folder of the model that this one began as: its tokenizer, templates and generation settings are copied.
    """
    save_model(merged(model), folder, start=start)
    save_tokenizer(tokenizer, folder, start=start)


def save_model(model: "PreTrainedModel", folder: Path, *, start: Path | None = None) -> None:
    """Save weights, config, and the generation settings of ``start``, byte by byte, else the model's own.

    Settings that transformers reads but refuses to write (a temperature without sampling) are no reason to lose a
    training: of those that stand in no file, the config holds what they were made from.
    """
    from transformers import GenerationConfig

    if not model.can_generate():
        model.save_pretrained(folder)
        return
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        model.save_pretrained(folder)
    finally:
        model.generation_config = own
    (folder / GENERATION).unlink()
    if start is not None and (start / GENERATION).is_file():
        shutil.copyfile(start / GENERATION, folder / GENERATION)
        return
    with suppress(ValueError):
        own.save_pretrained(folder)


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path, *, start: Path | None = None) -> None:
    """Write the tokenizer of ``start`` as it is there, else as transformers writes it."""
    if start is None or not copy_tokenizer(start, folder):
        tokenizer.save_pretrained(folder)


def context_of(folder: Path) -> int | None:
    """Return the longest text that the model of a folder can read, tokens; None where its config does not say."""
    return context_length(read_config(folder))


HASHED = (
    "*.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def find_model(source: str) -> Path:
    """Return the local folder that ``source`` names, checked; what else a model may be, ``bench.models.sources`` knows.

    Raises:
        UsageError: no such folder, no weights in safetensors, no config, or a broken tokenizer file.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise UsageError(
            f"model {source!r}: no such folder",
            fix="give a folder with config.json, tokenizer.json and *.safetensors, FILE.gguf, or run:KEY",
        )
    check_model_files(folder)
    if not list(folder.glob("*.safetensors")):
        pickled = [path.name for path in folder.glob("*.bin")]
        reason = f"; {pickled[0]} is a pickle, which is never loaded" if pickled else ""
        raise UsageError(
            f"model folder {folder} has no weights (*.safetensors){reason}",
            fix="save it with model.save_pretrained(folder, safe_serialization=True)",
        )
    return folder


def model_hash(folder: Path) -> str:
    """Return the SHA-256 of names and contents of weights, config and tokenizer: paths and other files do not enter."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in HASHED for path in folder.glob(pattern)}):
        digest.update(path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load the folder's own tokenizer; a missing pad token becomes EOS (it is masked out everywhere)."""
    from transformers import AutoTokenizer

    from bench.models.compat import limit_chat_templates

    register_table_model(folder)
    limit_chat_templates()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise UsageError(
            f"model folder {folder}: its tokenizer cannot be loaded ({error})",
            fix="save it with tokenizer.save_pretrained(folder)",
        ) from error
    if tokenizer.eos_token_id is None:
        raise UsageError(f"model folder {folder}: its tokenizer has no EOS token", fix="set eos_token before saving")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


LONGEST_EAGER = 1024
"""Context in tokens up to which a CPU computes attention as plain matrix products: torch's fused kernel has a backward
pass that takes half of a step there (docs/benchmarks.md), but plain products keep [rows, heads, tokens, tokens]."""


def load_model(folder: Path) -> "PreTrainedModel":
    """Load a causal LM in float32 for training or scoring, dropout off.

    Raises:
        UsageError: the folder holds another kind of model, or one that is quantised.
        RunError: the weights cannot be read, do not fill the architecture, or are more than it has.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from bench.models.packed.pointwise import quicken

    config = check_architecture(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # named below
            attn_implementation=None if torch.cuda.is_available() else _cpu_attention(config),
        )
    # Whatever a loader meets: a config of another kind ends in KeyError, TypeError, ImportError, ZeroDivisionError, …
    except Exception as error:
        raise RunError(
            f"model folder {folder} cannot be loaded: {type(error).__name__}: {error}", fix=_why_not_loaded(error)
        ) from error
    _check_shapes(folder, report["mismatched_keys"])
    _check_weights(folder, missing=report["missing_keys"], unexpected=report["unexpected_keys"])
    # From the start, so that every pass over a model rounds alike: sampled tokens hang on the last digit.
    quicken(model)
    return model.eval()


def _why_not_loaded(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "install the library that the message names"
    return "the file is truncated or corrupted: save the model again"


OTHER_PARTS = re.compile(r"vision|visual|audio|image|multi_modal|speech|(^|\.)mtp(\.|$)")
"""Weights that a text model may leave unused: parts for other media, and heads that predict several tokens."""


def _check_shapes(folder: Path, mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Raise RunError where a weight of the file has another shape than config.json says."""
    wrong = sorted((name, list(stored), list(wanted)) for name, stored, wanted in mismatched)
    if wrong:
        name, stored, wanted = wrong[0]
        raise RunError(
            f"model folder {folder}: {len(wrong)} weights have another shape than config.json says, first {name}: "
            f"{stored} in the file, {wanted} by the config",
            fix="correct config.json, or save the model again",
        )


def _check_weights(folder: Path, *, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raise RunError where weights of the architecture are not in the file, or weights of the file are not used."""
    for what, names in (
        ("are missing from the file", sorted(missing)),
        ("of the file are not used", sorted(name for name in unexpected if not OTHER_PARTS.search(name))),
    ):
        if names:
            raise RunError(
                f"model folder {folder}: {len(names)} weights {what}, the first is {names[0]}",
                fix="the checkpoint does not fit its config.json (number of layers, sizes, ties): correct config.json",
            )


def _cpu_attention(config: "PretrainedConfig") -> str | None:
    """Return ``eager`` for a short context, else None: the library's choice."""
    context = context_length(config)
    return "eager" if context is not None and context <= LONGEST_EAGER else None


def with_lora(model: "PreTrainedModel", lora: LoraSpec, *, seed: int) -> "PreTrainedModel":
    """Freeze the model and add LoRA adapters to every linear layer but the head (peft; arXiv 2106.09685)."""
    import torch
    from peft import LoraConfig, get_peft_model

    from bench.models.dropout import drop_by_row

    torch.manual_seed(seed)
    others = _linear_by_name_alone(model)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        exclude_modules=others or None,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    drop_by_row(adapted)
    return adapted


def _linear_by_name_alone(model: "PreTrainedModel") -> list[str]:
    """Return the linear layers that give no tensor (routers of experts), and those of parts for other media.

    An adapter adds to what a layer gives: that has to be one tensor. Text never meets the others.
    """
    import torch

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and (OTHER_PARTS.search(name) or not _gives_a_tensor(module))
    ]


def _gives_a_tensor(layer: "torch.nn.Linear") -> bool:
    import torch

    if type(layer).forward is torch.nn.Linear.forward or type(layer).__module__.startswith("bitsandbytes"):
        return True
    try:
        with torch.no_grad():
            output = layer(layer.weight.new_zeros(1, 1, layer.in_features))
    except Exception:  # it takes rows of its own kind
        return False
    return isinstance(output, torch.Tensor) and output.shape == (1, 1, layer.out_features)


def merged(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the plain causal LM: adapters folded into the weights where there are any."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model

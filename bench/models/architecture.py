"""Kinds of models that can be trained, by a folder's configuration alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def check_architecture(folder: Path) -> "PretrainedConfig":
    """Return a folder's configuration, that of a causal language model of text in plain weights; nothing else is read.

    Raises:
        UsageError: an encoder-decoder, a model that transformers has no causal LM for, or quantised weights.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config = read_config(folder)
    name = ", ".join(config.architectures or [type(config).__name__])
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(
            f"model folder {folder} holds {name}, an encoder-decoder, and no causal language model",
            fix="choose a decoder-only model",
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UsageError(
            f"model folder {folder} holds {name}, for which transformers has no causal language model of text",
            fix="save the text part of the model on its own (its language_model), or choose another model",
        )
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        raise UsageError(
            f"model folder {folder}: its weights are quantised ({getattr(method, 'value', method)}), "
            "and training needs them whole",
            fix="take the unquantised model; --set lora.quantize=nf4 quantises it for LoRA, with bitsandbytes",
        )
    return config


def register_table_model(folder: Path) -> None:
    """Register the table of logits (``table_model``) with transformers, where the folder holds one."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError):
        return  # the library's own loader says what is wrong with the file
    if kind == "lossbench_table":
        from bench.models.table_model import register

        register()


def read_config(folder: Path) -> "PretrainedConfig":
    """Return a folder's configuration. Raises UsageError where transformers does not know its architecture."""
    from transformers import AutoConfig

    register_table_model(folder)
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a damaged config fails in any way
        raise UsageError(
            f"model folder {folder}: transformers cannot read config.json ({type(error).__name__}: "
            f"{first_line(error)})",
            fix="update transformers, or choose a model that it knows",
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""

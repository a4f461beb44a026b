"""Private names of torch and transformers that models are read by; checked with torch 2.13 and transformers 5.23."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from bench.utils.templates import LimitedSandbox

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def plain_model(model: nn.Module) -> "PreTrainedModel":
    """Return the transformers model under peft's wrapper, or the model itself where there is no wrapper."""
    return cast("PreTrainedModel", model.get_base_model() if hasattr(model, "get_base_model") else model)  # type: ignore[operator]


def limit_chat_templates() -> None:
    """Have transformers render chat templates in a sandbox with limits: its own lets a template run for ever."""
    from transformers.utils import chat_template_utils

    if chat_template_utils.ImmutableSandboxedEnvironment is not LimitedSandbox:
        chat_template_utils.ImmutableSandboxedEnvironment = LimitedSandbox
        chat_template_utils._compile_jinja_template.cache_clear()


def takes_attention_functions(model: "PreTrainedModel") -> bool:
    """Return whether the model's attention goes through the attention interface of transformers."""
    return bool(getattr(model, "_supports_attention_backend", False))


def layer_class_names(model: "PreTrainedModel") -> frozenset[str]:
    """Return the names of the module classes that transformers never splits over devices: the layers."""
    return frozenset(getattr(model, "_no_split_modules", None) or ())


def attentions_of(config: "PretrainedConfig") -> str:
    """Return the names of the attention of a configuration and of the text part under it."""
    return f"{config._attn_implementation} {config.get_text_config(decoder=True)._attn_implementation}"


@contextmanager
def attention_function(model: "PreTrainedModel", name: str) -> Iterator[None]:
    """Use the registered attention function ``name`` in the block.

    The public ``set_attn_implementation`` checks and reloads kernels: too much for every forward pass.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def softmax_backward(gradient: Tensor, probabilities: Tensor) -> Tensor:
    """Return the gradient by the scores of a softmax over the last dimension, from that by the probabilities."""
    return torch._softmax_backward_data(gradient, probabilities, -1, probabilities.dtype)

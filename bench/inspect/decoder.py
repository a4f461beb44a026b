"""Layers of a causal language model, with their MLP neurons: located by structure, checked on a forward pass."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bench.errors import UsageError
from bench.models.compat import plain_model

DOWN_PROJECTIONS = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out", "w2")
"""Names of a down projection, used only where the shapes leave several matrices."""
ADDS_UP = 1e-4
"""Largest relative difference between what a layer adds and the sum of its attention's and MLP's outputs."""
FIX = "Llama, Qwen, Mistral, SmolLM2, GPT-2, GPT-NeoX and their like can be inspected"


Inputs = tuple[Tensor, ...]
"""Positional arguments of a module, as hooks get them."""
Output = Tensor | tuple[Tensor, ...] | list[Tensor]
"""What a layer or an attention module returns: hidden states, alone or first of several."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One decoder layer: its MLP's down projection, whose inputs are the hidden neurons, and its attention modules.

    The outputs of both are added to the residual stream."""

    block: nn.Module
    down_projection: nn.Linear | Conv1D
    attention: tuple[nn.Module, ...]

    @property
    def values(self) -> Tensor:
        """The neurons' value vectors, ``[neurons, hidden]``: what a neuron of activation 1 adds to the stream."""
        weight = self.down_projection.weight
        return weight if isinstance(self.down_projection, Conv1D) else weight.T

    @property
    def bias(self) -> Tensor | None:
        """The part of the MLP's output that no neuron changes, ``[hidden]``; None: nothing."""
        return self.down_projection.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder:
    """A causal language model, its part below the head, and its layers from the first to the last."""

    causal: PreTrainedModel
    backbone: nn.Module
    layers: tuple[Layer, ...]

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.causal.parameters()).device

    @property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of all layers' value vectors; two models can be compared if these are equal."""
        return tuple(tuple(layer.values.shape) for layer in self.layers)


def decoder_of(model: PreTrainedModel, *, name: str) -> Decoder:
    """Locate each layer's neurons, and check on a forward pass that layers add the outputs of attention and MLP.

    Args:
        name: of the model, for error messages.

    Raises:
        UsageError: layers or MLPs are not identified by structure, or their outputs are not simply added.
    """
    causal = plain_model(model)
    prefix = getattr(causal, "base_model_prefix", "")
    backbone = getattr(causal, prefix, None) if prefix else None
    if backbone is None:
        raise UsageError(f"{name}: {type(causal).__name__} has no decoder layers", fix=FIX)
    text = causal.config.get_text_config(decoder=True)
    count, hidden = getattr(text, "num_hidden_layers", 0), getattr(text, "hidden_size", 0)
    lists = [module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == count > 0]
    if not lists:
        raise UsageError(f"{name}: {type(causal).__name__} has no list of {count} layers", fix=FIX)
    layers = tuple(
        _layer(block, hidden, where=f"{name}, layer {index}") for index, block in enumerate(lists[0], start=1)
    )
    decoder = Decoder(causal=causal, backbone=backbone, layers=layers)
    _check(decoder, name)
    return decoder


def hidden_states_in(output: Output) -> Tensor:
    """Return the hidden states among the outputs of a layer or an attention module."""
    return output[0] if isinstance(output, tuple | list) else output


def _layer(block: nn.Module, hidden: int, *, where: str) -> Layer:
    attention = {
        name: module
        for name, module in block.named_children()
        if re.search("attn|attention", name) and any(map(_is_matrix, module.modules()))
    }
    matrices = {
        name: module
        for name, module in block.named_modules()
        if _is_matrix(module) and name.partition(".")[0] not in attention and _shape(module)[1] == hidden
    }
    narrow = {name: module for name, module in matrices.items() if _shape(module)[0] != hidden}
    if len(narrow or matrices) != 1:
        # With as many neurons as hidden units, up and down projections have equal shapes.
        narrow = {name: module for name, module in matrices.items() if name.rpartition(".")[2] in DOWN_PROJECTIONS}
    if len(narrow or matrices) != 1:
        raise UsageError(
            f"{where}: of {type(block).__name__}, {len(narrow or matrices)} matrices could be the MLP's "
            "down projection, and exactly one is needed (mixtures of experts and recurrent layers have another number)",
            fix=FIX,
        )
    if len(attention) != 1:
        raise UsageError(f"{where}: {type(block).__name__} has {len(attention)} attention modules, not one", fix=FIX)
    return Layer(
        block=block, down_projection=next(iter((narrow or matrices).values())), attention=tuple(attention.values())
    )


@torch.no_grad()
def _check(decoder: Decoder, name: str) -> None:
    """Raise UsageError for layers that do not add attention and MLP as they are, such as Gemma 2's, which norm them."""
    changes: dict[int, Tensor] = {}
    outputs: dict[int, list[Tensor]] = {index: [] for index in range(len(decoder.layers))}
    hooks = []
    for index, layer in enumerate(decoder.layers):
        # Copies: a model may add to its states in place.
        def before(module: nn.Module, inputs: Inputs, options: Mapping[str, Tensor], index: int = index) -> None:
            changes[index] = (inputs[0] if inputs else options["hidden_states"]).clone()

        def after(module: nn.Module, inputs: Inputs, output: Output, index: int = index) -> None:
            changes[index] = hidden_states_in(output) - changes[index]

        def part(module: nn.Module, inputs: Inputs, output: Output, index: int = index) -> None:
            outputs[index].append(hidden_states_in(output).clone())

        hooks += [
            layer.block.register_forward_pre_hook(before, with_kwargs=True),
            layer.block.register_forward_hook(after),
        ]
        hooks += [module.register_forward_hook(part) for module in (layer.down_projection, *layer.attention)]
    try:
        vocabulary = decoder.causal.get_input_embeddings().weight.shape[0]
        decoder.backbone(input_ids=torch.arange(6, device=decoder.device)[None] % vocabulary, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    for index, parts in outputs.items():
        total = sum(part.reshape(changes[index].shape) for part in parts)
        if len(parts) < 2 or float((changes[index] - total).norm()) > ADDS_UP * float(changes[index].norm()):
            raise UsageError(
                f"{name}, layer {index + 1}: {type(decoder.layers[index].block).__name__} does not add its MLP's "
                "output to the residual stream unchanged, so value vectors are not what neurons write",
                fix=FIX,
            )


def _is_matrix(module: nn.Module) -> TypeGuard[nn.Linear | Conv1D]:
    return isinstance(module, nn.Linear | Conv1D)


def _shape(module: nn.Linear | Conv1D) -> tuple[int, int]:
    """Return the numbers of inputs and of outputs of a matrix."""
    rows, columns = module.weight.shape
    return (rows, columns) if isinstance(module, Conv1D) else (columns, rows)

"""Forward passes with hooks that record neurons and residual states, or replace neurons."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bench.evaluate.hidden_states import in_batches
from bench.inspect.decoder import Decoder, Inputs, Output, hidden_states_in

KEPT_BYTES = 256 << 20
"""Bytes of all layers' activations in one batch; it limits the rows of a batch."""

Masks = Sequence[Tensor]
"""For each layer a set of neurons, bool ``[neurons]``."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text in token ids; tokens from index ``first`` on are counted. ``label``: its class. ``group``: its prompt;
    texts of one group are in the same part of every split."""

    ids: tuple[int, ...]
    first: int
    label: bool | None = None
    group: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Padded texts: token ids, and masks of seen and of counted tokens, each ``[rows, tokens]``."""

    rows: tuple[int, ...]
    ids: Tensor
    seen: Tensor
    counted: Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """Records of the last forward pass by layer: neurons ``[rows, tokens, neurons]``; and, each
    ``[rows, tokens, hidden]``, the outputs of MLPs and of attention, and the residual stream after the layer."""

    neurons: dict[int, Tensor] = field(default_factory=dict)
    writes: dict[int, Tensor] = field(default_factory=dict)
    attended: dict[int, Tensor] = field(default_factory=dict)
    states: dict[int, Tensor] = field(default_factory=dict)


def batches_of(texts: Sequence[Text], decoder: Decoder) -> list[Batch]:
    """Return batches of texts of similar length, padded on the right, whose activations fit into ``KEPT_BYTES``."""
    longest = max(len(text.ids) for text in texts)
    width = sum(neurons + 4 * hidden for neurons, hidden in decoder.shape)
    rows = max(1, KEPT_BYTES // (4 * width * longest))
    return [_pad(texts, part, decoder.device) for part in in_batches([len(t.ids) for t in texts], batch=rows)]


def _pad(texts: Sequence[Text], part: Sequence[int], device: torch.device) -> Batch:
    shape = (len(part), max(len(texts[row].ids) for row in part))
    ids, seen, counted = torch.zeros(shape, dtype=torch.long), torch.zeros(shape), torch.zeros(shape)
    for index, row in enumerate(part):
        length = len(texts[row].ids)
        ids[index, :length] = torch.tensor(texts[row].ids)
        seen[index, :length] = 1
        counted[index, texts[row].first : length] = 1
    return Batch(rows=tuple(part), ids=ids.to(device), seen=seen.bool().to(device), counted=counted.bool().to(device))


@torch.no_grad()
def run_backbone(decoder: Decoder, batch: Batch) -> None:
    """Run the model below its head on a batch, so that its hooks are called."""
    seen = None if bool(batch.seen.all()) else batch.seen.long()
    decoder.backbone(input_ids=batch.ids, attention_mask=seen, use_cache=False)


@contextmanager
def record_activations(
    decoder: Decoder, *, neurons: bool = False, writes: bool = False, states: bool = False
) -> Iterator[Trace]:
    """Record the requested activations of each forward pass, until the next one."""
    trace = Trace()
    hooks: list[RemovableHandle] = []
    for index, layer in enumerate(decoder.layers):

        def read(module: nn.Module, inputs: Inputs, output: Tensor, index: int = index) -> None:
            if neurons:
                trace.neurons[index] = inputs[0]
            if writes:
                trace.writes[index] = output.reshape(*inputs[0].shape[:-1], -1)

        def attend(module: nn.Module, inputs: Inputs, output: Output, index: int = index) -> None:
            trace.attended[index] = hidden_states_in(output)

        def passed(module: nn.Module, inputs: Inputs, output: Output, index: int = index) -> None:
            trace.states[index] = hidden_states_in(output)

        hooks.append(layer.down_projection.register_forward_hook(read))
        if writes:
            hooks += [module.register_forward_hook(attend) for module in layer.attention]
        if states:
            hooks.append(layer.block.register_forward_hook(passed))
    try:
        yield trace
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def patch_neurons(decoder: Decoder, source: Trace, masks: Masks) -> Iterator[None]:
    """Replace the neurons of ``masks`` by those of ``source``, in each forward pass within the context.

    ``source`` is read when a layer is reached, and must have recorded the same tokens by then.
    """
    hooks = []
    for index, layer in enumerate(decoder.layers):
        if not bool(masks[index].any()):
            continue

        def put(module: nn.Module, inputs: Inputs, index: int = index) -> Inputs:
            return (torch.where(masks[index], source.neurons[index].reshape(inputs[0].shape), inputs[0]), *inputs[1:])

        hooks.append(layer.down_projection.register_forward_pre_hook(put))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""The four groups of neurons, and the share of each in the change of the projection.

A neuron adds a · v to the residual stream, a its activation and v its value vector, so that it adds a · (v·w) to the
projection on the probe's direction w. What all MLPs add is the sum over neurons, and of the bias; so is its change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.inspection import GROUPS, GroupChange, Projection
from bench.inspect.activations import Means
from bench.inspect.decoder import Decoder


@dataclass(frozen=True, kw_only=True, eq=False)
class Neurons:
    """One layer's neurons, each ``[neurons]``: the index of their group in ``GROUPS``, their contributions to the
    projection before and after training, and the part of the change due to activations. ``bias``: the bias' change."""

    group: Tensor
    before: Tensor
    after: Tensor
    by_activation: Tensor
    bias: float


def neurons_of(start: Decoder, trained: Decoder, means: Means, *, w: Tensor) -> list[Neurons]:
    """Return each layer's neurons with their groups and contributions. ``w`` is ``[hidden]``, of length 1.

    A neuron is aligned where its value vector in the start model has cos(v, w) > 0, else anti-aligned; positive where
    its mean activation there is at least 0. Contributions are means over all counted tokens.
    """
    changes = []
    for one, other, mean in zip(start.layers, trained.layers, means.layers, strict=True):
        before, after = (_along(layer.values, w) for layer in (one, other))
        bias = 0.0
        if one.bias is not None and other.bias is not None:
            bias = float(_along((other.bias.double() - one.bias.double())[None], w))
        changes.append(
            Neurons(
                group=2 * (before <= 0).long() + (mean.start < 0).long(),
                before=mean.start * before,
                after=mean.trained * after,
                by_activation=(mean.trained - mean.start) * before,
                bias=bias,
            )
        )
    return changes


def masks_of(neurons: Sequence[Neurons], name: str, *, effect: float, device: torch.device) -> list[Tensor]:
    """Return the neurons of one of ``SETS``, for each layer a bool mask ``[neurons]``.

    Args:
        effect: the change of the projection; ``toward`` are the neurons whose shift of activation has its sign.
    """
    if name == "all":
        masks = [torch.ones_like(layer.group, dtype=torch.bool) for layer in neurons]
    elif name == "toward":
        masks = [layer.by_activation * effect > 0 for layer in neurons]
    else:
        masks = [layer.group == GROUPS.index(name) for layer in neurons]
    return [mask.to(device) for mask in masks]


def group_changes(neurons: Sequence[Neurons], *, layer: int) -> dict[str, GroupChange]:
    """Sum each group's contributions over the layers up to ``layer``, after which the probe reads."""
    read = neurons[:layer]
    total = float(sum((n.after - n.before).sum() + n.bias for n in read))
    changes = {}
    for index, name in enumerate(GROUPS):
        picked = [(n, n.group == index) for n in read]
        change = torch.cat([(n.after - n.before)[mask] for n, mask in picked])
        by_activation = float(sum(n.by_activation[mask].sum() for n, mask in picked))
        moved = float(change.sum())
        changes[name] = GroupChange(
            neurons=len(change),
            before=float(sum(n.before[mask].sum() for n, mask in picked)),
            after=float(sum(n.after[mask].sum() for n, mask in picked)),
            change=moved,
            by_activation=by_activation,
            by_vector=moved - by_activation,
            raised=float(change.clamp(min=0).sum()),
            lowered=float(change.clamp(max=0).sum()),
            share=moved / total if total else None,
        )
    return changes


def layer_groups(neurons: Neurons) -> dict[str, float]:
    """Return the change of the projection by each group's neurons in one layer."""
    change = neurons.after - neurons.before
    return {name: float(change[neurons.group == index].sum()) for index, name in enumerate(GROUPS)}


def projection_of(means: Means, neurons: Sequence[Neurons], *, layer: int) -> Projection:
    """Split the change of the projection by source; ``gap`` is that of the MLPs less the sum over neurons."""
    start, trained = means.projection
    mlps = sum(one.written[1] - one.written[0] for one in means.layers[:layer])
    attention = sum(one.attended[1] - one.attended[0] for one in means.layers[:layer])
    bias = sum(n.bias for n in neurons[:layer])
    summed = sum(float((n.after - n.before).sum()) for n in neurons[:layer]) + bias
    return Projection(
        start=start,
        trained=trained,
        mlps=mlps,
        attention=attention,
        embeddings=trained - start - mlps - attention,
        bias=bias,
        gap=mlps - summed,
    )


def _along(values: Tensor, w: Tensor) -> Tensor:
    return values.detach().cpu().double() @ w.cpu().double()

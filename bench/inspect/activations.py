"""Mean activations, residual states and projections on the probe of both models over the texts.

Only float64 sums are kept, and the activations of one batch at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.inspect.decoder import Decoder
from bench.inspect.hooks import Batch, Text, Trace, batches_of, record_activations, run_backbone

SIDES = (("mlp", "mlp'"), ("attention", "attention'"))
"""Names of the sums of projections of a module's outputs, in the start and the trained model."""
Tick = Callable[[int, str], None]
"""Progress: called with the number of texts that went through a model, and the name of the step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMeans:
    """One layer's means over all counted tokens; those of neurons are ``[neurons]``, float64, on the CPU.

    ``start`` and ``trained`` are activations, ``spread`` the start's standard deviation, ``moved`` the mean of
    |a' − a|. ``cosine`` and ``distance`` are of the residual stream after the layer; ``written`` and ``attended`` are
    the projections on the probe of the outputs of MLP and attention, in the start and the trained model.
    """

    start: Tensor
    trained: Tensor
    spread: Tensor
    moved: Tensor
    cosine: float
    distance: float
    written: tuple[float, float]
    attended: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Means:
    """Means of each layer, the mean projection on the probe in both models, and the number of counted tokens."""

    layers: tuple[LayerMeans, ...]
    projection: tuple[float, float]
    tokens: int


def measure_means(
    start: Decoder, trained: Decoder, texts: Sequence[Text], *, w: Tensor, layer: int, tick: Tick
) -> Means:
    """Return the means of both models over the texts, which are read batch by batch.

    Args:
        w: the probe's direction ``[hidden]``, of length 1, on the models' device; it reads after ``layer``, from 1.
    """
    sums = [_empty(neurons) for neurons, _ in start.shape]
    projection, tokens = torch.zeros(2, dtype=torch.float64), 0
    with (
        record_activations(start, neurons=True, writes=True, states=True) as one,
        record_activations(trained, neurons=True, writes=True, states=True) as other,
    ):
        for batch in batches_of(texts, start):
            run_backbone(start, batch)
            run_backbone(trained, batch)
            tokens += int(batch.counted.sum())
            for index, layer_sums in enumerate(sums):
                _add(layer_sums, index, batch, (one, other), w)
            for side, trace in enumerate((one, other)):
                projection[side] += _sum(trace.states[layer - 1][batch.counted] @ w)
            tick(2 * len(batch.rows), "activations")
    pair = (projection / tokens).tolist()
    return Means(
        layers=tuple(_means(layer_sums, tokens) for layer_sums in sums), projection=(pair[0], pair[1]), tokens=tokens
    )


def _empty(neurons: int) -> dict[str, Tensor]:
    wide = {name: torch.zeros(neurons, dtype=torch.float64) for name in ("a", "aa", "b", "moved")}
    return wide | {name: torch.zeros((), dtype=torch.float64) for name in ("cos", "far", "size", *SIDES[0], *SIDES[1])}


def _add(sums: dict[str, Tensor], index: int, batch: Batch, traces: tuple[Trace, Trace], w: Tensor) -> None:
    a, b = (_counted(trace.neurons[index], batch) for trace in traces)
    sums["a"] += _sum(a, 0)
    sums["aa"] += _sum(a.double().square(), 0)
    sums["b"] += _sum(b, 0)
    sums["moved"] += _sum((b - a).abs(), 0)
    h, k = (_counted(trace.states[index], batch) for trace in traces)
    sums["cos"] += _sum(torch.cosine_similarity(h.double(), k.double(), dim=-1))
    sums["far"] += _sum((k - h).double().square())
    sums["size"] += _sum(h.double().square())
    for names, trace in zip(zip(*SIDES, strict=True), traces, strict=True):
        for name, put_out in zip(names, (trace.writes[index], trace.attended[index]), strict=True):
            sums[name] += _sum(_counted(put_out, batch) @ w)


def _counted(values: Tensor, batch: Batch) -> Tensor:
    return values.reshape(*batch.ids.shape, -1)[batch.counted]


def _sum(values: Tensor, dim: int | None = None) -> Tensor:
    return values.sum(dim=dim, dtype=torch.float64).cpu()


def _means(sums: dict[str, Tensor], tokens: int) -> LayerMeans:
    mean = sums["a"] / tokens
    return LayerMeans(
        start=mean,
        trained=sums["b"] / tokens,
        spread=(sums["aa"] / tokens - mean.square()).clamp(min=0).sqrt(),
        moved=sums["moved"] / tokens,
        cosine=float(sums["cos"]) / tokens,
        distance=float((sums["far"] / sums["size"]).sqrt()),
        written=(float(sums["mlp"]) / tokens, float(sums["mlp'"]) / tokens),
        attended=(float(sums["attention"]) / tokens, float(sums["attention'"]) / tokens),
    )


def relative_shifts(means: LayerMeans) -> dict[str, float | None]:
    """Return the shifts of a layer's neurons, as ``LayerChange`` defines them; None where no neuron varies."""
    spread = float(means.spread.mean())
    shift = means.trained - means.start
    shifts = {"absolute": means.moved, "systematic": shift.abs(), "signed": shift}
    return {name: float(values.mean()) / spread if spread > 0 else None for name, values in shifts.items()}

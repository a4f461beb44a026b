"""One inspection from its models to its record: weights, activations, groups, patching."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.core.inspection import SETS, Inspection, LayerChange, Measure, Probe, WeightChange
from bench.inspect.activations import LayerMeans, Tick, measure_means, relative_shifts
from bench.inspect.decoder import Decoder
from bench.inspect.hooks import Masks, Text
from bench.inspect.neuron_groups import (
    Neurons,
    group_changes,
    layer_groups,
    masks_of,
    neurons_of,
    projection_of,
)
from bench.inspect.patching import gold_measure, probe_measure
from bench.inspect.probe import Direction, direction_tensor
from bench.inspect.texts import Behaviour
from bench.inspect.weights import weight_changes


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Model to inspect: its names in the record, and the content hashes of both models."""

    key: str
    model: str
    label: str
    objective: str | None
    seed: int | None
    start_content: str
    trained_content: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """Inputs that all inspections of a command share: the probe, the texts, and the scored continuations."""

    direction: Direction
    probe_source: str
    texts: tuple[Text, ...]
    source: str
    behaviour: Behaviour | None
    end_ids: frozenset[int]
    patch: bool


def texts_to_read(setup: Setup) -> int:
    """Return the number of texts that go through a model in one inspection, the total of its progress."""
    sides, prompts = 2 * (len(SETS) + 1), 0 if setup.behaviour is None else len(setup.behaviour.prompts)
    return 2 * len(setup.texts) + (sides * (len(setup.texts) + prompts) if setup.patch else 0)


def inspect_model(subject: Subject, start: Decoder, trained: Decoder, setup: Setup, *, tick: Tick) -> Inspection:
    """Compare a trained model with its start model; both are on one device and of one shape."""
    began = time.monotonic()
    w, layer = direction_tensor(setup.direction, start.device), setup.direction.layer
    weights, outside = weight_changes(start, trained)
    means = measure_means(start, trained, setup.texts, w=w, layer=layer, tick=tick)
    neurons = neurons_of(start, trained, means, w=w)
    projection = projection_of(means, neurons, layer=layer)
    effect = projection.trained - projection.start
    sets = {name: masks_of(neurons, name, effect=effect, device=start.device) for name in SETS}
    direction = setup.direction
    return Inspection(
        **vars(subject),
        source=setup.source,
        texts=len(setup.texts),
        tokens=means.tokens,
        probe=Probe(
            source=setup.probe_source,
            layer=layer,
            accuracy=direction.accuracy,
            low=direction.low,
            high=direction.high,
            chance=direction.chance,
            trained_on=direction.trained_on,
            held_out=len(direction.held_out),
            penalty=direction.penalty,
        ),
        layers=tuple(
            _layer(index, *parts)
            for index, parts in enumerate(zip(weights, means.layers, neurons, strict=True), start=1)
        ),
        outside=outside,
        projection=projection,
        groups=group_changes(neurons, layer=layer),
        patching=_patching(start, trained, setup, sets, tick=tick) if setup.patch else (),
        seconds=round(time.monotonic() - began, 3),
    )


def _layer(index: int, weights: dict[str, WeightChange], means: LayerMeans, neurons: Neurons) -> LayerChange:
    return LayerChange(
        layer=index,
        weights=weights,
        **relative_shifts(means),
        cosine=means.cosine,
        distance=means.distance,
        written=means.written[1] - means.written[0],
        attended=means.attended[1] - means.attended[0],
        groups=layer_groups(neurons),
    )


def _patching(
    start: Decoder, trained: Decoder, setup: Setup, sets: Mapping[str, Masks], *, tick: Tick
) -> tuple[Measure, ...]:
    w = direction_tensor(setup.direction, start.device)
    measures = [probe_measure(start, trained, setup.texts, sets, w=w, layer=setup.direction.layer, tick=tick)]
    if setup.behaviour is not None:
        behaviour = setup.behaviour
        measures.append(
            gold_measure(
                start,
                trained,
                behaviour.prompts,
                sets,
                score=behaviour.score,
                tokens=behaviour.tokens,
                temperature=behaviour.temperature,
                seed=behaviour.seed,
                end_ids=setup.end_ids,
                tick=tick,
            )
        )
    return tuple(measures)

"""The record of one inspection: what a loss did inside a model, plain JSON, complete in itself."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.manifest import first_fault, read_manifest
from bench.errors import RunError
from bench.utils.files import naming_disk_errors

FILE = "inspect.json"
VERSION = 1
GROUPS = ("aligned_positive", "aligned_negative", "anti_positive", "anti_negative")
"""The four groups: the value vector's side of the probe, and the sign of the mean activation in the start model."""
SETS = (*GROUPS, "all", "toward")
"""What is patched: each group, all four together, and of all four the neurons that shift toward the net effect."""


class Part(BaseModel):
    """Base of what an inspection consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WeightChange(Part):
    """How far some weights moved: ``change`` is ‖ΔW‖ / ‖W‖ (Frobenius), None where they were zero."""

    norm: float
    moved: float
    change: float | None
    effective_rank: Annotated[float | None, Field(description="exp of the entropy of ΔW's singular values")] = None
    top_share: Annotated[float | None, Field(description="share of the eight largest in Σσ²")] = None
    stable_rank: Annotated[float | None, Field(description="Σσ² / σ₁²")] = None


class LayerChange(Part):
    """One layer, from 1. Activations are relative to the neurons' mean standard deviation in the start model."""

    layer: int
    weights: dict[str, WeightChange]
    absolute: Annotated[float | None, Field(description="mean over neurons and tokens of |a' − a|, relative")]
    systematic: Annotated[
        float | None, Field(description="mean over neurons of |mean over tokens of a' − a|, relative")
    ]
    signed: Annotated[float | None, Field(description="mean over neurons and tokens of a' − a, relative")]
    cosine: Annotated[float, Field(description="of the residual stream after the layer, before and after; mean")]
    distance: Annotated[float, Field(description="√(Σ‖h' − h‖² / Σ‖h‖²) of the stream after the layer")]
    written: Annotated[float, Field(description="change of the projection on the probe that this MLP writes")]
    attended: Annotated[float, Field(description="the same of this layer's attention")]
    groups: Annotated[dict[str, float], Field(description="of what the MLP writes, that by the neurons of each group")]


class GroupChange(Part):
    """One group's mean contribution to the projection on the probe, summed over its neurons.

    ``change`` = ``by_activation`` (Σ Δa · v·w) + ``by_vector`` (Σ a' · Δv·w). ``raised`` and ``lowered``: the sums of
    its positive and of its negative terms. ``share``: of the change by all MLPs, None where that is zero.
    """

    neurons: int
    before: float
    after: float
    change: float
    by_activation: float
    by_vector: float
    raised: float
    lowered: float
    share: float | None


class Projection(Part):
    """The mean projection of the residual stream on the probe, and where its change comes from.

    ``trained − start`` = ``mlps`` + ``attention`` + ``embeddings``; the first two were measured at the outputs of
    these modules in all layers up to the probe's, the third is what is left. ``mlps`` equals Σ ``groups`` + ``bias`` up
    to ``gap``, which is rounding.
    """

    start: float
    trained: float
    mlps: float
    attention: float
    embeddings: float
    bias: float
    gap: float


class Probe(Part):
    """The linear probe: where it reads, what it was trained on, how often it is right on texts that it did not see.

    ``low``, ``high``: 95 % interval of ``accuracy``; ``chance``: what always naming the more frequent class would be
    right on. None in inspections from before they were measured.
    """

    source: str
    layer: int
    accuracy: float
    trained_on: int
    held_out: int
    penalty: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    @property
    def at_chance(self) -> bool:
        """Whether its accuracy is not shown to be above chance, so that its direction may be any."""
        return self.low is not None and self.chance is not None and self.low <= self.chance


class Patched(Part):
    """One set of neurons in both directions. ``restored``: (start with the trained activations − start) / effect;
    ``removed``: (trained − trained with the start's activations) / effect. None where there is no effect. Errors are
    standard errors over texts, of the numerator alone."""

    neurons: int
    into_start: float
    restored: float | None
    restored_error: float | None
    out_of_trained: float
    removed: float | None
    removed_error: float | None


class Measure(Part):
    """A quantity that is patched for: of the two models, their difference with its standard error, and each set's."""

    name: Literal["probe", "gold_reward"]
    start: float
    trained: float
    effect: float
    effect_error: float
    n: int
    sets: dict[str, Patched]


class Inspection(Part):
    """One trained model against its start model."""

    version: int = VERSION
    key: str
    model: str
    label: str
    objective: str | None
    seed: int | None
    start_content: str
    trained_content: str
    source: Annotated[str, Field(description="where the texts are from")]
    texts: int
    tokens: Annotated[int, Field(description="counted ones")]
    probe: Probe
    layers: tuple[LayerChange, ...]
    outside: dict[str, WeightChange]
    projection: Projection
    groups: dict[str, GroupChange]
    patching: tuple[Measure, ...]
    seconds: float


def read_inspection(folder: Path) -> Inspection:
    """Return a finished inspection. Raises RunError where it is not what was written there."""
    path, fix = folder / FILE, f"delete {folder} and run the same command again"
    entry = read_manifest(folder).files.get(FILE)
    with naming_disk_errors(path, "read"):
        content = path.read_bytes()
    if entry is None or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise RunError(f"{path} is damaged: it is not what was written", fix=fix)
    try:
        return Inspection.model_validate_json(content)
    except ValidationError as error:
        raise RunError(f"{path} is no inspection of version {VERSION}: {first_fault(error)}", fix=fix) from error

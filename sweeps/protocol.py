"""Tuning protocol: what a fair comparison fixes for every objective alike, and its hash."""

import hashlib
import json
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

SamplerName = Literal["grid", "tpe", "random"]
PrunerName = Literal["none", "median", "halving"]
Direction = Literal["maximize", "minimize"]


class TuningProtocol(BaseModel):
    """What a fair comparison fixes for every objective alike; two results compare only under one ``hash``.

    ``preset``: its name, or "custom". ``terms``: hash of suite, data, start model, training and evaluation. ``axes``:
    what is searched; "own" is each objective's main parameter. ``trials``: budget of each objective. ``seeds``: of the
    runs that select. ``final_seeds``: fresh ones, of the runs that are reported. ``target``: the validation metric to
    optimise. ``steps``: optimiser steps of a run. ``pairs``: training pairs, the same for unpaired objectives.
    ``pruner``: what ends trials early, at the steps ``rungs``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field(min_length=1)
    terms: str = Field(min_length=1)
    axes: tuple[str, ...]
    trials: PositiveInt
    sampler: SamplerName
    seeds: tuple[int, ...] = Field(min_length=1)
    final_seeds: tuple[int, ...]
    target: str = Field(min_length=1)
    direction: Direction
    steps: PositiveInt
    pairs: PositiveInt | None
    pruner: PrunerName = "none"
    rungs: tuple[PositiveInt, ...] = ()

    @model_validator(mode="after")
    def _seeds_are_fresh(self) -> Self:
        seeds = (*self.seeds, *self.final_seeds)
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seeds={self.seeds} and final_seeds={self.final_seeds} repeat a seed; "
                "give different ones, so that no run both selects and reports"
            )
        return self

    @model_validator(mode="after")
    def _pruner_has_rungs(self) -> Self:
        if (self.pruner == "none") != (not self.rungs) or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(
                f"pruner={self.pruner!r} and rungs={self.rungs}: give a pruner rising steps, and none none"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_pruner(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Protocols from before there were pruners keep their hashes, and their records stay comparable.
        values: dict[str, object] = handler(self)
        return {k: v for k, v in values.items() if self.pruner != "none" or k not in ("pruner", "rungs")}

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(
            json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()[:12]

"""Tuning protocol: what a fair comparison fixes for every objective alike, and its hash."""

import hashlib
import json
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

SamplerName = Literal["grid", "tpe", "random"]
PrunerName = Literal["none", "median", "halving"]
Direction = Literal["maximize", "minimize"]


class RaceSpec(BaseModel):
    """Terms of a race over the final seeds: how many at each look (rising), the error level of each, the margin.

    ``margin``: a difference of the target that does not matter; it decides when the race ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    looks: tuple[PositiveInt, ...] = Field(min_length=1)
    levels: tuple[PositiveFloat, ...]
    margin: PositiveFloat


class TuningProtocol(BaseModel):
    """What a fair comparison fixes for every objective alike; two results compare only under one ``hash``.

    ``preset``: its name, or "custom". ``terms``: hash of suite, data, start model, training and evaluation. ``axes``:
    what is searched; "own" is each objective's main parameter. ``trials``: budget of each objective. ``seeds``: of the
    runs that select. ``final_seeds``: fresh ones, of the runs that are reported. ``target``: the validation metric to
    optimise. ``steps``: optimiser steps of a run. ``pairs``: training pairs, the same for unpaired objectives.
    ``pruner``: what ends trials early, at the steps ``rungs``. ``race``: its terms, where objectives
    (``arms``) race over the final seeds: then these are the ones that an arm may get, in order. ``further_seeds``: of a
    race, the seeds that settings which may be their objective's best get before one is chosen, one after another.
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
    race: RaceSpec | None = None
    arms: tuple[str, ...] = ()
    further_seeds: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _seeds_are_fresh(self) -> Self:
        seeds = (*self.seeds, *self.further_seeds, *self.final_seeds)
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seeds={(*self.seeds, *self.further_seeds)} and final_seeds={self.final_seeds} repeat a seed; "
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

    @model_validator(mode="after")
    def _race_has_seeds_and_arms(self) -> Self:
        if self.race is None and not self.arms and not self.further_seeds:
            return self
        if self.race is None or len(self.arms) < 2 or self.race.looks[-1] > len(self.final_seeds):
            raise ValueError(
                f"race={self.race} of arms={self.arms} over final_seeds={self.final_seeds}: give a race two arms or "
                "more and the seeds of its last look, and no arms or further_seeds without a race"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Protocols from before there were pruners and races keep their hashes, and their records stay comparable.
        values: dict[str, object] = handler(self)
        absent = {
            *(("pruner", "rungs") if self.pruner == "none" else ()),
            *(("race", "arms") if self.race is None else ()),
            *(("further_seeds",) if not self.further_seeds else ()),
        }
        return {k: v for k, v in values.items() if k not in absent}

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(
            json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()[:12]

"""Owns where and how a run is computed: what changes nothing but rounding, time and memory, and is never hashed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Execution(BaseModel):
    """Where and how a run is computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    micro_batch: Annotated[int, Field(gt=0, description="pairs per forward pass")] = 16
    processes: Annotated[int, Field(gt=0)] = 1
    checkpoint_every: Annotated[int, Field(ge=0, description="optimiser steps; 0: only at the end")] = 0
    log_every: Annotated[int, Field(gt=0)] = 1
    watch_every: Annotated[
        int, Field(ge=0, description="optimiser steps from one measurement of entropy and top-1 to the next; 0: never")
    ] = 10
    layout: Annotated[
        Literal["packed", "padded"], Field(description="packed: no padding and each prompt once, where the model can")
    ] = "packed"
    gradient_checkpointing: Annotated[
        bool, Field(description="layers keep their inputs alone and are computed again: less memory, a third slower")
    ] = False
    device: Annotated[str | None, Field(pattern=r"^(cpu|mps|cuda(:[0-9]{1,3})?)$")] = None
    shard: Annotated[
        Literal["ddp", "fsdp2"], Field(description="how ranks hold the policy: a copy each, or a shard each")
    ] = "ddp"
    launcher: Annotated[
        Literal["torchrun", "manual"], Field(description="who starts the ranks: this command, or its user")
    ] = "torchrun"
    rank_timeout: Annotated[float, Field(gt=0, description="seconds that a rank waits for another one")] = 600.0
    watts_per_core: Annotated[float, Field(ge=0, description="of a busy core, where no counter measures it")] = 10.0
    watts_per_gpu: Annotated[float, Field(ge=0, description="of a GPU at work, where no counter measures it")] = 400.0

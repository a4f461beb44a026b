"""The request of ``bench iterate``: that of a run, and how its rounds are sampled and labelled."""

from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from bench.core.request import RunRequest
from bench.errors import UsageError, did_you_mean
from bench.runner.iterate.pairs import Which
from bench.runner.iterate.spec import Reference


class IterateRequest(BaseModel):
    """One ``bench iterate``.

    Fields:
        run: losses, suite, model, data, settings and results; of one trial, without fresh seeds.
        seeds: loops of each loss.
        temperature: of the completions; None for the suite's.
        prompts: of a round; None for all, up to the pairs that its steps draw.

    Raises:
        UsageError: a way to make pairs, or a reference, that does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: RunRequest
    rounds: int
    samples: int
    temperature: float | None
    prompts: int | None
    fresh: bool
    judge: str
    judgements: int
    both_orders: bool
    pairs: Which
    reference: Reference
    seeds: int
    max_cost: float | None
    dry_run: bool

    @field_validator("pairs", "reference", mode="before")
    @classmethod
    def _known(cls, value: object, info: ValidationInfo) -> object:
        known = get_args(Which if info.field_name == "pairs" else Reference)
        if value not in known:
            raise UsageError(f"--{info.field_name}: unknown {value!r}", fix=did_you_mean(str(value), known))
        return value

"""The record of one evaluated run: plain JSON, complete in itself, the only input of every report."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from bench.core.specs import EvaluationSpec, RunSpec
from bench.core.task_outcomes import TaskOutcomes

RECORD_VERSION = 2
START = "start"
"""The name under which the untrained start model stands in records and tables."""
JUDGE = "judge"
"""The task of a record's first judge."""


class Metric(BaseModel):
    """One number: what it measures, on which split, its standard error over ``n`` items (prompts, pairs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    split: str
    name: str
    value: float
    stderr: float | None = None
    n: int
    higher_is_better: bool | None = None


class Energy(BaseModel):
    """The energy of a run by counters of the machine; ``method`` says which. Old records have estimates, never used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    joules: Annotated[float, Field(ge=0)]
    source: Literal["measured", "estimated"]
    method: str


class Cost(BaseModel):
    """What the run cost, all stages together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_seconds: float
    evaluate_seconds: float
    reference_seconds: float
    tokens: Annotated[int, Field(description="tokens that went through the policy in training, padding left out")]
    forward_tokens: Annotated[int, Field(description="with the reference's and the KL baseline's passes")]
    flops: Annotated[float, Field(description="6 · parameters · tokens + 2 · parameters · (forward tokens − tokens)")]
    peak_memory_bytes: int
    device: str
    devices: Annotated[int | None, Field(description="ranks that trained, each on a device of its own")] = None
    energy: Annotated[Energy | None, Field(description="of training and evaluation, the cache left out")] = None

    @model_serializer(mode="wrap")
    def _without_unknowns(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Records from before these were known keep their bytes.
        values: dict[str, object] = handler(self)
        return {k: v for k, v in values.items() if v is not None or k not in ("devices", "energy")}


class RunRecord(BaseModel):
    """One trained checkpoint, evaluated once under one protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record_version: int = RECORD_VERSION
    key: str
    evaluation_key: str
    protocol: Annotated[str, Field(description="hash of what was equal for all objectives; tables never mix two")]
    status: Literal["completed", "pruned", "diverged", "failed"]
    error: str | None = None
    spec: RunSpec
    evaluation: EvaluationSpec
    tuning: Annotated[
        dict[str, Any],
        Field(description="the tuning protocol: preset, axes, trials, seeds, final_seeds, sampler, target, steps, …"),
    ]
    metrics: tuple[Metric, ...]
    scores: Annotated[
        dict[str, list[float]],
        Field(description="per prompt of the split, in its order: gold_reward, kl, target, length, and by judge"),
    ]
    outcomes: Annotated[
        dict[str, TaskOutcomes], Field(description="on each document of lm-eval's tasks; none in old records")
    ] = {}
    curves: Annotated[
        dict[str, list[float | None]],
        Field(description="training curves: one list per name, one entry per logged step"),
    ]
    cost: Cost
    provenance: dict[str, Any]

    @model_serializer(mode="wrap")
    def _without_no_outcomes(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Records from before these were kept have their bytes.
        values: dict[str, object] = handler(self)
        return {name: value for name, value in values.items() if name != "outcomes" or value}

    def metric(self, name: str, *, task: str | None = None) -> Metric | None:
        """Return the metric of that name (and task), None where it was not measured."""
        for metric in self.metrics:
            if metric.name == name and (task is None or metric.task == task):
                return metric
        return None


GOLD_REWARD = "gold_reward"
"""The metric of the reward, as records name it from the first, whoever gives it."""
REWARD = "reward"
"""The same in tables where a judge gives it."""


def named_measurement(task: str, metric: str, judges: Sequence[str]) -> tuple[str, str]:
    """Return task and metric as people are to read them: a judge's by the judge's name.

    Args:
        judges: of the evaluation, the first one the giver of rewards; none: the suite has a gold reward.
    """
    if not judges:
        return task, metric
    if metric == GOLD_REWARD:
        return task, f"reward by {judges[0]}"
    if task == JUDGE:
        return f"{JUDGE} {judges[0]}", metric
    if task.startswith(f"{JUDGE}_"):
        return f"{JUDGE} {task.removeprefix(f'{JUDGE}_')}", metric
    return task, metric


def judge_task(judge: str, judges: Sequence[str]) -> str:
    """Return the task under which a judge's metrics, and its preferences by prompt, stand in a record."""
    return JUDGE if judge == judges[0] else f"{JUDGE}_{judge}"

"""What a model got right on each document of a lm-eval task, as small as a record needs it for paired tests."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

SHARES = ("acc_norm", "acc", "exact_match")
"""Measures of a share of right answers; a task is judged by the first that it has, as its own papers report it."""


class TaskOutcomes(BaseModel):
    """A value between 0 and 1 for each document of a task or group; their mean is the task's metric.

    Documents of one cluster stand one after the other. Two models are compared where ``documents`` is equal: then they
    answered the same documents, in the same order and the same clusters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    documents: Annotated[str, Field(description="hash of which documents, in which order and clusters")]
    values: Annotated[
        str | tuple[float, ...], Field(description="a digit 0 or 1 for each document, or a number where others occur")
    ]
    clustered_by: Annotated[
        str | None, Field(description="what documents of a cluster share: a field of theirs, or the group's task")
    ] = None
    clusters: Annotated[
        tuple[int, ...], Field(description="documents of each cluster; none where each stands alone")
    ] = ()

    @model_validator(mode="after")
    def _check(self) -> "TaskOutcomes":
        if self.binary and set(self.values) - {"0", "1"}:
            raise ValueError("values as text are digits 0 and 1")
        if self.clusters and (min(self.clusters) < 1 or sum(self.clusters) != len(self.values)):
            raise ValueError(f"clusters of {sum(self.clusters)} documents, values of {len(self.values)}")
        return self

    @property
    def binary(self) -> bool:
        """Whether each document is right or wrong."""
        return isinstance(self.values, str)

    @property
    def numbers(self) -> list[float]:
        """The values as numbers, in the documents' order."""
        return [float(value) for value in self.values]


def packed(values: Sequence[float]) -> str | tuple[float, ...]:
    """Return values as digits where each is 0 or 1, else as they are."""
    return "".join(str(int(value)) for value in values) if all(value in (0, 1) for value in values) else tuple(values)


def judging_metric(names: Sequence[str]) -> str | None:
    """Return the metric that a task is judged by, of those it has in its order: ``SHARES`` first; None of none.

    A filter is part of a name ("exact_match,strict-match"); a name without one goes before.
    """
    ordered = sorted(names, key=lambda name: "," in name)
    return next((n for share in SHARES for n in ordered if n.partition(",")[0] == share), next(iter(ordered), None))

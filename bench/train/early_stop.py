"""Early stop of a training: the steps at which it is scored, and who decides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Prune = Callable[[int, float], bool]
"""(step, score there) → whether the run ends."""


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """Where a run is scored, by what, and who decides. ``scores`` fills as the run goes on."""

    steps: tuple[int, ...]
    score: Callable[["PreTrainedModel"], float]
    prune: Prune
    scores: dict[int, float] = field(default_factory=dict)

    def ends(self, step: int, model: "PreTrainedModel") -> bool:
        """Score ``model`` where ``step`` is a rung; say whether the run ends there."""
        if step not in self.steps:
            return False
        self.scores[step] = self.score(model)
        return self.prune(step, self.scores[step])

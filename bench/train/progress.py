"""Progress of a training: what it leaves behind besides the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

CURVES = (
    "step", "loss", "accuracy", "margin", "chosen_logp", "rejected_logp", "grad_norm", "learning_rate", "entropy",
    "chosen_top1",
)  # fmt: skip


@dataclass(kw_only=True)
class Progress:
    """What training leaves behind besides the weights; grows step by step and is saved for resuming.

    ``tokens`` went through the policy with a gradient; ``forward_tokens`` adds the KL baseline's and a live
    reference's passes. ``curves`` has one list a name and one entry a logged step. ``objective_state`` holds the
    running quantities of objectives that have them; ``layout`` says how rows were laid out, and why if padded;
    ``arithmetic`` names what decides the last digits on a CPU (route of products, kernels, threads).
    """

    status: str = "completed"
    error: str | None = None
    steps: int = 0
    tokens: int = 0
    forward_tokens: int = 0
    clipped_steps: int = 0
    seconds: float = 0.0
    world_size: int = 1
    layout: str = "padded"
    sharing: str = "alone"
    arithmetic: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[float | None]] = field(default_factory=lambda: {name: [] for name in CURVES})
    objective_state: dict[str, float] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        """Return the progress of a saved state; curves that older versions did not have are None at each step."""
        progress = cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})
        for name in CURVES:
            progress.curves.setdefault(name, [None] * len(progress.curves["step"]))
        return progress

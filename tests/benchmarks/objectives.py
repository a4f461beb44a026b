"""Owns which objectives are compared, at which settings both sides mean the same, and what one run of both is.

Equal to rounding, at every step: ``dpo`` (TRL's "sigmoid"), ``ipo`` (both average over tokens), ``simpo`` (TRL's CPO
trainer with its NLL term off; TRL takes γ itself, ours γ/β) and ``kto``. For KTO TRL meets each prompt with the
completion of the row before it, which in pairs taken apart is often the other one of the same prompt; ours takes the
next row of another prompt. Here TRL's column of mismatched completions is filled with ours, so that both estimate z
from the same rows; all that TRL computes with them is its own. Its rows lie chosen, rejected, chosen, … as ours do.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.data.tokens import EncodedPair
from bench.errors import UsageError, did_you_mean

Trainer = Literal["DPO", "KTO", "CPO"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """How both sides train: pairs, rate and length of what is trained; all else is the default of both."""

    model: Path
    pairs: tuple[EncodedPair, ...]
    objective: str
    params: dict[str, float]
    learning_rate: float
    max_length: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One objective by its name here: our parameters, TRL's trainer and what its configuration is given."""

    name: str
    params: dict[str, float]
    trainer: Trainer
    config: dict[str, object] = field(default_factory=dict)

    @property
    def reference(self) -> bool:
        """Whether there is a reference, which TRL can compute beforehand."""
        return self.trainer != "CPO"


BETA, TAU, STEEPNESS, MARGIN = 0.1, 0.5, 2.0, 0.5
COMPARED = {
    each.name: each
    for each in (
        Compared(name="dpo", params={"beta": BETA}, trainer="DPO", config={"loss_type": ["sigmoid"], "beta": BETA}),
        Compared(name="ipo", params={"beta": TAU}, trainer="DPO", config={"loss_type": ["ipo"], "beta": TAU}),
        Compared(name="kto", params={"beta": BETA}, trainer="KTO", config={"loss_type": "kto", "beta": BETA}),
        Compared(
            name="simpo",
            params={"beta": STEEPNESS, "gamma_ratio": MARGIN},
            trainer="CPO",
            config={
                "loss_type": "simpo", "beta": STEEPNESS, "simpo_gamma": STEEPNESS * MARGIN, "cpo_alpha": 0.0
            },
        ),
    )
}  # fmt: skip


def compared(name: str) -> Compared:
    """Return the objective of that name. Raises UsageError for another one."""
    if name not in COMPARED:
        raise UsageError(f"--objectives names {name!r}", fix=did_you_mean(name, COMPARED))
    return COMPARED[name]

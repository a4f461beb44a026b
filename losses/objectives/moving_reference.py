"""Losses that are DPO against a reference that moves: sDPO, TR-DPO, EMA reference."""

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.objective import Requires, objective
from losses.objectives.dpo import BETA, dpo
from losses.param import Param
from losses.schedule import hard, soft, staged
from losses.space import Choice, Linear, Log

EVERY = Param(
    default=32,
    space=Choice((8, 16, 32, 64, 128, 512)),
    symbol="τ",
    unit="optimiser steps",
    meaning="steps between updates of the reference: as it grows the run comes nearer to dpo",
    low=1,
    high=1e9,
    integer=True,
    schedule=True,
)
MOVING = "Δ is taken against the moving reference"


@objective(
    params={
        # The tie starts anew with each stage, so it takes a stronger one than dpo's to end as far from the start model.
        "beta": replace(BETA, space=Log(0.02, 5)),
        "stages": Param(
            default=2,
            space=Choice((2, 3)),
            symbol="k",
            unit="parts of the data",
            meaning="how often the policy becomes the reference: as it grows the policy may go further",
            low=1,
            high=1000,
            integer=True,
            schedule=True,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2403.19270, sDPO: Don't Use Your Data All at Once",
    checked_against="paper",
    equation="-log σ(β Δ); after each of k data stages: reference <- policy",
    optimum="as dpo within a stage",
    reduces_to=("stages = 1: dpo",),
    differs=("trl's SDPO is Self-Distillation Policy Optimization, another method",),
    initial=lambda beta: math.log(2),
    schedule=lambda params: staged(int(params["stages"])),
    version=1,
)
def sdpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO on the data in stages, each of which starts from and is tied to the model that the last one ended with.

    Section 3 of the paper; Δ is taken against the reference of the stage. Optimiser and learning-rate schedule restart
    with each stage. The paper orders the parts from easy to hard by the reference's reward accuracy, which is left to
    whoever provides the data; data sets given in order (``--data first --data second``) are the stages instead, as in
    the paper.
    At the start of each stage the loss is log 2.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is higher than dpo's, as the tie starts anew with each stage.
        stages: k, parts of the data. As it grows the reference moves more often and the policy may go further from
            the start model. 1 is dpo. It shapes the schedule only and is not seen by the loss. With several data sets
            it is their number.
    """
    return dpo.fn(pairs, beta=beta)


@objective(
    params={
        "beta": replace(BETA, default=0.05),
        "alpha": Param(
            default=0.6,
            space=Linear(0.1, 0.9),
            symbol="α",
            unit="1",
            meaning="share of the policy in an update: as it grows the reference follows more closely",
            low=0,
            high=1,
            schedule=True,
        ),
        "every": EVERY,
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2404.09656, Learn Your Reference Model for Real Good Alignment",
    checked_against="peer code",
    equation="-log σ(β Δ); every τ steps: reference <- α·policy + (1 - α)·reference",
    optimum=f"none that stays: {MOVING}",
    reduces_to=("alpha = 0: dpo", "alpha = 1: tr_dpo_hard"),
    differs=("trl does not save the reference in checkpoints: a resumed run restarts from the original one",),
    initial=lambda beta: math.log(2),
    schedule=lambda params: soft(params["alpha"], int(params["every"])),
    version=1,
)
def tr_dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO whose reference drifts after the policy, so that a pair already learnt does not stop the learning.

    The soft update of the paper.
    At step 0 the loss is log 2.

    Parameters:
        beta: β, 1/nat, as for dpo, with the paper's default of 0.05; the space is that of sums.
        alpha: α, a share. As it grows the reference follows more closely and the tie to the start model loosens.
        every: τ, optimiser steps. As it grows updates become rarer. The paper used 512 in runs of thousands of steps;
            the default of 32 suits runs of hundreds, where 512 might never come.

    Both ``alpha`` and ``every`` shape the schedule only and are not seen by the loss.
    """
    return dpo.fn(pairs, beta=beta)


@objective(
    params={"beta": replace(BETA, default=0.05), "every": EVERY},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2404.09656, Learn Your Reference Model for Real Good Alignment",
    checked_against="secondary",
    equation="-log σ(β Δ); every τ steps: reference <- policy",
    optimum=f"none that stays: {MOVING}",
    reduces_to=("every > the number of steps: dpo",),
    differs=(
        "HALOs' sync_reference copies after every step: every = 1",
        "sdpo also restarts optimiser and learning rate",
    ),
    initial=lambda beta: math.log(2),
    schedule=lambda params: hard(int(params["every"])),
    version=1,
)
def tr_dpo_hard(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO whose reference is replaced by the policy at intervals.

    The hard update of the paper.
    At step 0, and after each update, the loss is log 2.

    Parameters:
        beta: β, 1/nat, as for dpo, with the paper's default of 0.05; the space is that of sums.
        every: τ, optimiser steps, as for tr_dpo. It shapes the schedule only and is not seen by the loss.
    """
    return dpo.fn(pairs, beta=beta)


@objective(
    params={
        "beta": BETA,
        "decay": Param(
            default=0.99,
            space=Linear(0.9, 0.999),
            symbol="ρ",
            unit="1",
            meaning="share of the reference that stays each step: as it grows the run comes nearer to dpo",
            low=0,
            high=1,
            schedule=True,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2404.09656, Learn Your Reference Model for Real Good Alignment (the soft update, at every step)",
    checked_against="peer code",
    equation="-log σ(β Δ); every step: reference <- ρ·reference + (1 - ρ)·policy",
    optimum=f"none that stays: {MOVING}",
    reduces_to=("decay = 1: dpo",),
    differs=(
        "trl's experimental BEMA callback corrects its average for bias",
        "tr_dpo waits between updates",
    ),
    initial=lambda beta: math.log(2),
    schedule=lambda params: soft(1 - params["decay"], every=1),
    version=1,
)
def ema_dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO whose reference is an exponential moving average of the policy, some 1/(1 - ρ) steps behind it.

    The soft update of the paper with α = 1 - ρ and τ = 1: a plain average, without correction of its bias.
    At step 0 the loss is log 2.

    The reference is another one at each step, so its log-probs cannot be computed beforehand.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        decay: ρ, a share. As it grows the reference follows more slowly; 1 is dpo. It shapes the schedule only and is
            not seen by the loss.
    """
    return dpo.fn(pairs, beta=beta)

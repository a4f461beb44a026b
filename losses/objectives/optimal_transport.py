"""Losses that compare sorted values over the whole batch instead of pair by pair: AOT."""

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.objectives import dpo
from losses.space import Log

BETA = replace(
    dpo.BETA,
    default=0.05,
    space=Log(0.001, 0.1),
    meaning="strength of the tie to the reference: as it grows, a smaller distance satisfies a rank",
)
PAPER = "arXiv 2406.05882, Distributional Preference Alignment of LLMs via Optimal Transport"
DIFFERS = (
    "trl and ms-swift sort within a micro-batch of one device: their objective changes with its size and with the "
    "number of devices",
    "trl smooths labels by an ε, 0 by default; here it is 0",
)


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="log_ratio",
    aggregation="sum",
    paper=PAPER,
    checked_against="peer code",
    equation="-log σ(β (u - v)) for each rank, u = sorted s_w - s_l, v = sorted r_w - r_l of the global batch",
    optimum="no finite optimum: u - v → ∞ at every rank",
    reduces_to=("one pair a batch: dpo",),
    differs=DIFFERS,
    initial=lambda beta: math.log(2),
    version=1,
)
def aot(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Lift the whole distribution of the policy's margins above that of the reference's, rank by rank.

    The paired form of the paper with the logistic loss, without label smoothing.
    At policy = reference the loss is log 2 at every rank and its gradient -β/2 on s_w, +β/2 on s_l of every pair.

    Loss k is that of rank k, in rising order, and of no single pair: only the mean over the batch has a meaning.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller distance. The space is that of sums; the paper used
            0.01.
    """
    margins = (pairs.chosen.policy - pairs.rejected.policy).sort().values
    targets = (pairs.chosen.reference - pairs.rejected.reference).sort().values
    return -log_sigmoid(beta * (margins - targets))


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="log_ratio",
    aggregation="sum",
    paper=PAPER,
    checked_against="peer code",
    equation="-log σ(β (u - v)) for each rank, u = sorted Δw, v = sorted Δl of the global batch",
    optimum="no finite optimum: u - v → ∞ at every rank",
    reduces_to=("one pair a batch: dpo",),
    differs=(*DIFFERS, "trl up to 0.24 called this loss aot_pair; aot was the paired one throughout"),
    initial=lambda beta: math.log(2),
    version=1,
)
def aot_unpaired(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Lift the distribution of chosen rewards above that of rejected ones, whichever prompts they belong to.

    The unpaired form of the paper with the logistic loss, without label smoothing.
    At policy = reference the loss is log 2 at every rank and its gradient -β/2 on Δw, +β/2 on Δl of every pair.

    Loss k is that of rank k, in rising order, and of no single pair: only the mean over the batch has a meaning. It
    takes as many chosen as rejected completions, here those of the pairs.

    Parameters:
        beta: β, 1/nat, as for aot; the space is that of sums.
    """
    return -log_sigmoid(beta * (pairs.chosen.log_ratio.sort().values - pairs.rejected.log_ratio.sort().values))

"""What can be seen of an objective by calling it: whether only the gap between two completions matters."""

from dataclasses import replace

import torch

from losses.batch import Completion, Pairs, each
from losses.objective import Objective
from losses.testing.synthetic import example_batch

SHIFT = 0.7


def depends_on_gap_only(objective: Objective) -> bool:
    """Whether raising the reward of both completions by the same amount changes no loss, at the defaults.

    It is so for losses of Δ (dpo, ipo, hinge, …) and not for those that judge each completion (kto, nca, apo, …).
    """
    if objective.batch is not Pairs:
        return False
    batch = example_batch(objective)
    means = objective.reward in ("mean_log_ratio", "mean_policy")

    def raised(side: Completion) -> Completion:
        shift = SHIFT if means else SHIFT / side.length[:, None]
        return replace(side, policy_logps=side.policy_logps.detach() + shift)

    return torch.allclose(objective(batch), objective(each(batch, raised)), rtol=1e-9, atol=1e-9)

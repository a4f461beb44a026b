"""Uses of other libraries' private names in the training, in one place."""

import torch


def link_moments(optimizer: torch.optim.Optimizer) -> None:
    """Have DeepSpeed tie parameters to their moments, which it does in its first step; restored moments come before it.

    Args:
        optimizer: accelerate's wrapper of DeepSpeed's optimiser.
    """
    getattr(optimizer, "optimizer")._lazy_init_hp_params_optimizer_state()  # noqa: B009

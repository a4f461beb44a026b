"""Training by DeepSpeed (ZeRO stages 1 and 2, by accelerate's configuration): its engine steps, clips,
and keeps weights and moments in flat partitions."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeGuard

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bench.core.specs import TrainSpec
from bench.errors import UsageError
from bench.train import compat

STAGES = (1, 2)
MOMENTS = ("exp_avg", "exp_avg_sq")


def configure(accelerator: Accelerator, train: TrainSpec) -> None:
    """Give DeepSpeed's configuration what is this suite's to say; the rest stays as its file has it.

    Raises:
        UsageError: a stage, half-precision weights or offloading that would change a run, or that the packed path does
            not know.
    """
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    zero = config.get("zero_optimization", {})
    if zero.get("stage") not in STAGES:
        raise UsageError(
            f"DeepSpeed's configuration has ZeRO stage {zero.get('stage', 0)}",
            fix="zero_stage: 1 or 2; for weights in shards --set execution.shard=fsdp2, without DeepSpeed",
        )
    for name in ("fp16", "bf16"):
        if config.get(name, {}).get("enabled") is True:
            raise UsageError(
                f"DeepSpeed's configuration has {name} weights", fix="--set train.precision=bf16 rounds products only"
            )
    if zero.get("offload_optimizer", {}).get("device", "none") != "none":
        raise UsageError("DeepSpeed's configuration offloads the optimiser", fix="offload_optimizer_device: none")
    config["gradient_clipping"] = train.clip
    config["gradient_accumulation_steps"] = 1  # the loop counts micro-batches itself
    config["train_micro_batch_size_per_gpu"] = train.batch // accelerator.num_processes
    config["zero_allow_untested_optimizer"] = True


class Engine(Protocol):
    """What the loop uses of DeepSpeed's engine, which wraps a policy."""

    def set_gradient_accumulation_boundary(self, is_boundary: bool) -> None:
        """Say whether the next backward pass is the last one before a step."""

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradient."""

    def step(self) -> None:
        """Clip the gradients and step the optimiser."""

    def get_global_grad_norm(self) -> float:
        """Return the norm before clipping, which is known after the step only."""


def is_engine(policy: nn.Module) -> TypeGuard[Engine]:
    """Whether a policy is DeepSpeed's engine."""
    return hasattr(policy, "set_gradient_accumulation_boundary")


def step(engine: Engine) -> float:
    """Clip, step, and return the gradient's norm before clipping, which is known afterwards only."""
    engine.step()
    return float(engine.get_global_grad_norm())


def is_flat(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser is DeepSpeed's, whose parameters are flat partitions."""
    return hasattr(optimizer, "optimizer")


def moments_of(optimizer: torch.optim.Optimizer, trained: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """AdamW's moments of each parameter, whole; all ranks ask together."""
    from deepspeed.utils import safe_get_full_optimizer_state

    count = next(iter(_base(optimizer).state.values()))["step"]
    steps = torch.as_tensor(count, dtype=torch.float32)
    return [{"step": steps} | {name: safe_get_full_optimizer_state(p, name) for name in MOMENTS} for p in trained]


@torch.no_grad()
def put_moments(
    optimizer: torch.optim.Optimizer, trained: Sequence[Tensor], moments: Mapping[int, Mapping[str, Tensor]]
) -> None:
    """Give the partitions their part of whole moments, and of the weights as they are now."""
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    base = _base(optimizer)
    for part in (each for group in base.param_groups for each in group["params"]):
        blank = {name: torch.zeros_like(part) for name in MOMENTS}
        base.state[part] = {"step": moments[0]["step"].to(part.device, copy=True), **blank}
    compat.link_moments(optimizer)
    for index, parameter in enumerate(trained):
        safe_set_full_fp32_param(parameter, parameter.detach())
        for name in MOMENTS:
            safe_set_full_optimizer_state(parameter, moments[index][name].to(parameter.device), name)


def _base(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The torch optimiser below accelerate's and DeepSpeed's wrappers."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer

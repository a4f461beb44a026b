"""Tensors of which a rank may hold a part: made whole for a state, and parted again when one is read."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from bench.train.distributed import deepspeed


def named_weights(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """A module's parameters by name, each rank's shard where they are sharded."""
    if isinstance(module, FSDPModule):
        module.reshard()  # a pass without gradient leaves the root's weights whole
    return list(module.named_parameters())


def whole(value: Tensor) -> Tensor:
    """The whole of a tensor of which this rank may hold a shard. All ranks must ask together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def spread_like(value: Tensor, like: Tensor) -> Tensor:
    """This rank's part of ``value``, which all ranks hold whole, as ``like`` is sharded."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole copies of tensors in main memory, one after the other; on all ranks but the first, nothing."""
    copies = {}
    for name, value in tensors.items():
        copy = whole(value.detach())
        if PartialState().is_main_process:
            copies[name] = copy.to("cpu", copy=True).contiguous()
    return copies


@torch.no_grad()
def put(target: Tensor, value: Tensor) -> None:
    """Copy ``value``, which all ranks hold whole, to where this rank holds it or its part."""
    target.copy_(spread_like(value, target))


def moments_of(optimizer: torch.optim.Optimizer, trained: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """What the optimiser keeps of each trained parameter, by name."""
    if deepspeed.is_flat(optimizer):
        return deepspeed.moments_of(optimizer, trained)
    return [{name: torch.as_tensor(value) for name, value in optimizer.state.get(each, {}).items()} for each in trained]


def put_moments(
    optimizer: torch.optim.Optimizer, trained: Sequence[Tensor], moments: Mapping[int, Mapping[str, Tensor]]
) -> None:
    """Give the optimiser its moments back, each rank its own part; the weights are there already."""
    if deepspeed.is_flat(optimizer):
        deepspeed.put_moments(optimizer, trained, moments)
        return
    parts = {
        index: {
            name: spread_like(value, trained[index]) if value.ndim else value for name, value in moments[index].items()
        }
        for index in moments
    }
    optimizer.load_state_dict({"state": parts, "param_groups": optimizer.state_dict()["param_groups"]})


@torch.no_grad()
def move_reference(reference: nn.Module, policy: nn.Module, weight: float) -> None:
    """reference ← weight · policy + (1 − weight) · reference, parameter by parameter (arXiv 2404.09656)."""
    pairs = zip(named_weights(reference), named_weights(policy), strict=True)
    for (_, old), (_, new) in pairs:
        _local(old).lerp_(_local(new).to(old.dtype), weight)


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value

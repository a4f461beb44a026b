"""The ways in which ranks share a policy: a copy each (DDP), a shard each (FSDP2), DeepSpeed, or one process alone.

What the loop asks of a policy, and what differs between these, is here: how it is prepared, when gradients are
exchanged, how they are clipped. What a rank holds of a tensor is in ``bench.train.distributed.sharding``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from bench.core.specs import Execution, TrainSpec
from bench.errors import RunError, UsageError
from bench.models.gradient_checkpointing import layers_of
from bench.models.logprobs import CompletionLogProbs
from bench.train.distributed import deepspeed
from bench.train.distributed.sharding import whole

Sharing = Literal["alone", "ddp", "fsdp2", "deepspeed"]


def join_ranks(execution: Execution) -> Accelerator:
    """Join the ranks that were started beside this process, if any.

    Raises:
        RunError: there are more or fewer of them than were asked for.
        UsageError: accelerate was told of the first FSDP, which is not supported.
    """
    if _fsdp_by_launcher() and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UsageError("accelerate's configuration has FSDP of version 1", fix="fsdp_version: 2 in that file")
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    # Without a GPU accelerate joins the ranks only where it is told that they are on the CPU; with DeepSpeed never.
    on_cpu = execution.device == "cpu" or not torch.cuda.is_available()
    accelerator = Accelerator(
        cpu=on_cpu and not deepspeed,
        mixed_precision="no",  # the spec says where bf16 is used, whatever a launcher's configuration has
        kwargs_handlers=[
            InitProcessGroupKwargs(
                backend="gloo" if on_cpu and deepspeed else None, timeout=timedelta(seconds=execution.rank_timeout)
            )
        ],
    )
    if accelerator.num_processes != execution.processes:
        raise RunError(
            f"{execution.processes} processes were asked for, {accelerator.num_processes} are running",
            fix=f"start them with torchrun --nproc_per_node {execution.processes} -m bench.train RUN_DIR (accelerate "
            "launch starts several ranks on GPUs only), or give the number that runs to --processes",
        )
    return accelerator


def sharing_of(accelerator: Accelerator, execution: Execution) -> Sharing:
    """How the policy is shared: as the launcher's configuration says, else as ``execution.shard`` says."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return "deepspeed"
    if not torch.distributed.is_initialized():
        return "alone"
    return "fsdp2" if _fsdp_by_launcher() else execution.shard


def _fsdp_by_launcher() -> bool:
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def share(
    model: CompletionLogProbs, *, train: TrainSpec, sharing: Sharing, accelerator: Accelerator
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Prepare a policy for its ranks, with an optimiser of what is trained in it."""
    # Dropout in the policy alone would break its parity with the reference; adapters' own (``bench.models.dropout``)
    # goes by the pass and not by the mode.
    model.eval()
    if sharing == "fsdp2":
        shard(model, accelerator)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        weight_decay=train.weight_decay,
        fused=True,
    )
    if sharing == "deepspeed":
        deepspeed.configure(accelerator, train)
        return accelerator.prepare(model, optimizer)
    return (model if sharing == "fsdp2" else accelerator.prepare(model)), optimizer


def shard(model: CompletionLogProbs, accelerator: Accelerator) -> CompletionLogProbs:
    """Shard a model in place over all ranks with FSDP2: each layer for itself, the rest with the root.

    The root keeps its weights whole from its forward to its backward pass, for the vocabulary projection reads them
    directly. FSDP2 is applied here and not by accelerate, which leaves it out on CPUs.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in layers_of(model.model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    register_fsdp_forward_method(model, "frozen")
    return model


@contextmanager
def accumulating(policy: nn.Module, *, last: bool) -> Iterator[None]:
    """Exchange gradients with the last micro-batch of a step only."""
    if isinstance(policy, FSDPModule):
        policy.set_requires_gradient_sync(last)
    if deepspeed.is_engine(policy):
        policy.set_gradient_accumulation_boundary(last)
    with policy.no_sync() if isinstance(policy, DistributedDataParallel) and not last else nullcontext():
        yield


def backward(policy: nn.Module, loss: Tensor) -> None:
    """Add a loss's gradient to the policy's."""
    if deepspeed.is_engine(policy):
        policy.backward(loss)
    else:
        loss.backward()


def clipped(policy: nn.Module, clip: float) -> float:
    """Scale the gradients down to the norm ``clip`` where theirs is larger; return theirs, over all shards."""
    if deepspeed.is_engine(policy):  # DeepSpeed clips within its step, as its configuration says
        return 0.0
    return float(whole(torch.nn.utils.clip_grad_norm_(policy.parameters(), clip)))


def update(policy: nn.Module, optimizer: torch.optim.Optimizer, norm: float) -> float:
    """Step the optimiser; return the norm of the gradients, which DeepSpeed knows afterwards only."""
    if deepspeed.is_engine(policy):
        return deepspeed.step(policy)
    optimizer.step()
    return norm


def start_afresh(optimizer: torch.optim.Optimizer) -> None:
    """Forget moments and step counts, as a new optimiser has none."""
    for moments in optimizer.state.values():
        for value in moments.values():
            if isinstance(value, Tensor):
                value.zero_()


def any_rank(accelerator: Accelerator, here: bool) -> bool:
    """Whether any rank says so: all ranks then do the same thing in the same step."""
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device), reduction="sum") > 0)


def check_alike(accelerator: Accelerator, steps: int) -> None:
    """Refuse ranks that go on from different states.

    Raises:
        RunError: ranks on other machines do not see the first one's work folder.
    """
    if accelerator.num_processes == 1:
        return
    counts = accelerator.gather(torch.tensor([steps], device=accelerator.device)).tolist()
    if len(set(counts)) > 1:
        raise RunError(
            f"the ranks found states after different numbers of steps: {', '.join(map(str, counts))}",
            fix="all machines have to see the same results folder: put --out on a file system that they share",
        )

"""The state for resuming, in safetensors and JSON only."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.core.artifacts import verify_folder, write_whole
from bench.core.manifest import is_complete
from bench.train.distributed import sharding
from bench.train.progress import Progress
from bench.utils.event_log import log_event


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Trainable weights, AdamW's moments, the moving reference, and the progress so far.

    Tensors are whole, whoever held which part of them: any number of ranks can go on from them, sharded or not. There
    is no random state: all that is drawn is a function of seed and step. States of older versions have one, unread.
    """

    tensors: dict[str, Tensor]
    progress: Progress

    @classmethod
    def of(
        cls,
        policy: nn.Module,
        optimizer: torch.optim.Optimizer,
        reference: nn.Module | None,
        progress: Progress,
    ) -> "TrainState":
        """Collect the state after a step, on all ranks together; only the first one's is whole."""
        weights = sharding.named_weights(policy)
        tensors: dict[str, Tensor] = {f"policy.{name}": p for name, p in weights if p.requires_grad}
        trained = [p for _, p in weights if p.requires_grad]
        for index, moments in enumerate(sharding.moments_of(optimizer, trained)):
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        if reference is not None:
            tensors |= {f"reference.{name}": p for name, p in sharding.named_weights(reference)}
        return cls(tensors=sharding.gathered(tensors), progress=progress)

    @torch.no_grad()
    def restore(self, policy: nn.Module, optimizer: torch.optim.Optimizer, reference: nn.Module | None) -> None:
        """Put everything back in place, each rank its own part."""
        weights = sharding.named_weights(policy)
        for prefix, named in (
            ("policy.", weights),
            ("reference.", sharding.named_weights(reference) if reference is not None else []),
        ):
            for name, parameter in named:
                if prefix + name in self.tensors:
                    sharding.put(parameter, self.tensors[prefix + name])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in self.tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                moments.setdefault(int(index), {})[name] = value
        sharding.put_moments(optimizer, [p for _, p in weights if p.requires_grad], moments)


def save_state(folder: Path, state: TrainState) -> None:
    """Write ``folder/state-<step>`` whole, then drop older states."""

    def write(partial: Path) -> None:
        save_file(state.tensors, partial / "state.safetensors")
        (partial / "progress.json").write_text(json.dumps(vars(state.progress)), encoding="utf-8")

    fresh = folder / f"state-{state.progress.steps:08d}"
    write_whole(fresh, write, stage="state")
    log_event("checkpoint_written", {"run": folder.name, "step": state.progress.steps})
    for old in folder.glob("state-*"):
        if old.name != fresh.name:
            shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path) -> TrainState | None:
    """Return the newest whole state; a damaged or unfinished one is passed over."""
    for path in sorted(folder.glob("state-*"), reverse=True):
        if is_complete(path) and not verify_folder(path):
            progress = Progress.from_json(json.loads((path / "progress.json").read_text(encoding="utf-8")))
            log_event("checkpoint_resumed_from", {"run": folder.name, "step": progress.steps})
            return TrainState(tensors=load_file(path / "state.safetensors"), progress=progress)
    return None

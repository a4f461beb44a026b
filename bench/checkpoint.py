"""Owns what is saved of weights: the state for resuming and the finished checkpoint. Safetensors and JSON only."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.logs import tell
from bench.model import merged
from bench.report.store import is_complete, verify_folder, write_whole


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Trainable weights, AdamW's moments, the moving reference, the random state, and the progress so far."""

    tensors: dict[str, Tensor]
    progress: dict[str, Any]

    @classmethod
    def of(
        cls,
        policy: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        reference: torch.nn.Module | None,
        progress: dict[str, Any],
    ) -> "TrainState":
        """Collect the state after a step."""
        tensors = {f"policy.{name}": p.detach() for name, p in policy.named_parameters() if p.requires_grad}
        for place, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        if reference is not None:
            tensors |= {f"reference.{name}": p.detach() for name, p in reference.named_parameters()}
        tensors["rng"] = torch.get_rng_state()
        return cls(tensors={k: v.clone().contiguous().cpu() for k, v in tensors.items()}, progress=dict(progress))

    @torch.no_grad()
    def restore(
        self, policy: torch.nn.Module, optimizer: torch.optim.Optimizer, reference: torch.nn.Module | None
    ) -> None:
        """Put everything back in place."""
        for prefix, module in (("policy.", policy), ("reference.", reference)):
            for name, parameter in module.named_parameters() if module is not None else ():
                if prefix + name in self.tensors:
                    parameter.copy_(self.tensors[prefix + name])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in self.tensors.items():
            if key.startswith("optimizer."):
                _, place, name = key.split(".", 2)
                moments.setdefault(int(place), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(self.tensors["rng"])


def save_state(folder: Path, state: TrainState) -> None:
    """Write ``folder/state-<step>`` whole, then drop older states."""

    def write(partial: Path) -> None:
        save_file(state.tensors, partial / "state.safetensors")
        (partial / "progress.json").write_text(json.dumps(state.progress), encoding="utf-8")

    fresh = folder / f"state-{state.progress['steps']:08d}"
    write_whole(fresh, write, stage="state")
    tell("checkpoint_written", {"run": folder.name, "step": state.progress["steps"]})
    for old in folder.glob("state-*"):
        if old.name != fresh.name:
            shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path) -> TrainState | None:
    """Return the newest whole state; a damaged or unfinished one is passed over."""
    for path in sorted(folder.glob("state-*"), reverse=True):
        if is_complete(path) and not verify_folder(path):
            progress = json.loads((path / "progress.json").read_text(encoding="utf-8"))
            tell("checkpoint_resumed_from", {"run": folder.name, "step": progress["steps"]})
            return TrainState(tensors=load_file(path / "state.safetensors"), progress=progress)
    return None


def save_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save in the ordinary transformers format, adapters merged, with the tokenizer."""
    merged(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

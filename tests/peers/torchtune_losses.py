"""Torchtune's losses, loaded from their own file: the package asks for more on import than the losses need."""

import importlib.util
from importlib.metadata import distribution
from types import ModuleType

from torch import Tensor

from tests.peers.sample import Sample, pairs


def module() -> ModuleType:
    """torchtune.rlhf.loss.dpo without its package."""
    path = distribution("torchtune").locate_file("torchtune/rlhf/loss/dpo.py")
    spec = importlib.util.spec_from_file_location("torchtune_rlhf_loss_dpo", str(path))
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def loss(sample: Sample, name: str, **arguments: float) -> Tensor:
    """Mean loss of torchtune's class ``name`` on the sums of a sample's log-probs."""
    batch = pairs(sample)
    sums = (batch.chosen.policy, batch.rejected.policy, batch.chosen.reference, batch.rejected.reference)
    return getattr(module(), name)(**arguments)(*sums)[0].mean()

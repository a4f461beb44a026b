"""Calls of trl's DPOTrainer and KTOTrainer: their own ``_compute_loss`` and collators on a sample."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer

from tests.peers.sample import Sample, desirable
from tests.peers.stand_ins import OneProcess, Scripted, WithHead, bare, policy_of, reference_of


def default(config: type, name: str) -> Any:
    """What a field of a configuration class is where the user says nothing."""
    return config.__dataclass_fields__[name].default


def dpo(
    sample: Sample,
    *losses: str,
    weights: tuple[float, ...] | None = None,
    beta: float = default(DPOConfig, "beta"),
    label_smoothing: float = default(DPOConfig, "label_smoothing"),
    divergence: str = default(DPOConfig, "f_divergence_type"),
    alpha: float = default(DPOConfig, "f_alpha_divergence_coef"),
    ld_alpha: float | None = default(DPOConfig, "ld_alpha"),
    use_weighting: bool = default(DPOConfig, "use_weighting"),
    discopop_tau: float = default(DPOConfig, "discopop_tau"),
    fused_head: bool = False,
) -> Tensor:
    """DPOTrainer's loss of a batch; ``fused_head`` takes log-probs from trl's own head, which works in float32."""
    model = WithHead if fused_head else Scripted
    half = len(sample.ids) // 2
    batch = DataCollatorForPreference(pad_token_id=0)(
        [
            {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
            for prompt, chosen, rejected in zip(
                sample.prompts[:half], sample.completions[:half], sample.completions[half:], strict=True
            )
        ]
    )
    policy = policy_of(sample, model)
    trainer = bare(
        DPOTrainer, **_common(policy, reference_of(sample, model), discopop_tau=discopop_tau),
        beta=beta, loss_types=losses, loss_weights=weights or (1.0,) * len(losses), label_smoothing=label_smoothing,
        f_divergence_type=divergence, f_alpha_divergence_coef=alpha, ld_alpha=ld_alpha, use_weighting=use_weighting,
    )  # fmt: skip
    return trainer._compute_loss(policy, batch, return_outputs=False)


def kto(
    sample: Sample,
    *,
    loss: str,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    process: OneProcess | None = None,
) -> Tensor:
    """KTOTrainer's loss of all rows of a sample, the first half desirable."""
    assert sample.mismatched is not None
    with_kl = loss == "kto"
    labels = desirable(sample).tolist()
    rows = [
        {"prompt_ids": prompt, "completion_ids": completion, "label": label}
        | ({"KL_completion_ids": other} if with_kl else {})
        for prompt, completion, other, label in zip(
            sample.prompts, sample.completions, sample.mismatched.completions, labels, strict=True
        )
    ]
    policy = policy_of(sample)
    trainer = bare(
        KTOTrainer, **(_common(policy, reference_of(sample)) | ({"accelerator": process} if process else {})),
        beta=beta, loss_type=loss, calculate_KL=with_kl, desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
    )  # fmt: skip
    return trainer._compute_loss(policy, DataCollatorForUnpairedPreference(pad_token_id=0)(rows), return_outputs=False)


class TwoRanks(OneProcess):
    """A run of two processes, the other of which found its own KL estimate; every other number is the same on both."""

    def __init__(self, mine: Tensor, other: Tensor) -> None:
        super().__init__()
        self.mine, self.other = mine, other

    def gather_for_metrics(self, value: Tensor) -> Tensor:
        """Both KL estimates, where it is ours that is gathered."""
        is_estimate = value.is_floating_point() and not value.ndim and torch.isclose(value, self.mine, rtol=1e-9)
        return torch.stack((value, self.other)) if is_estimate else value


def _common(policy: Scripted, reference: Scripted, **args: Any) -> dict[str, Any]:
    return {
        "model": policy,
        "ref_model": reference,
        "accelerator": OneProcess(),
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None, **args),
        "precompute_ref_logps": False,
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }

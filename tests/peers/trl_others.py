"""Calls of trl's CPO, ORPO, TPO and online DPO trainers: their own methods on a sample."""

import tempfile
import warnings
from collections import defaultdict
from types import SimpleNamespace

import torch
from torch import Tensor

from tests.peers.sample import Sample
from tests.peers.stand_ins import OneProcess, Scripted, bare, policy_of, reference_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # trl warns that trl.experimental may change
    from trl.experimental.cpo.cpo_config import CPOConfig
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.online_dpo.online_dpo_trainer import OnlineDPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    from trl.experimental.tpo.tpo_trainer import TPOTrainer

__all__ = ["CPOConfig", "CPOTrainer", "ORPOTrainer", "TPOTrainer", "alphapo_by_name", "cpo", "online", "orpo", "tpo"]


def cpo(
    sample: Sample,
    *,
    loss: str,
    beta: float,
    nll_weight: float,
    label_smoothing: float = 0.0,
    gamma: float = 0.5,
    alpha: float = 0.0,
) -> Tensor:
    """CPOTrainer's loss of a batch; "simpo" and AlphaPO (by ``alpha``) are losses of it."""
    trainer = bare(
        CPOTrainer, loss_type=loss, beta=beta, cpo_alpha=nll_weight, label_smoothing=label_smoothing,
        simpo_gamma=gamma, alpha=alpha, is_encoder_decoder=False, aux_loss_enabled=False, pad_token_id=0,
        accelerator=OneProcess(),
    )  # fmt: skip
    return trainer.get_batch_loss_metrics(policy_of(sample), _two_sides(sample))[0]


def alphapo_by_name(sample: Sample, *, beta: float, gamma: float) -> Tensor:
    """CPOTrainer's loss of a batch at what CPOConfig makes of loss_type "alphapo" where the user says no more."""
    with tempfile.TemporaryDirectory() as folder:
        found = CPOConfig(output_dir=folder, loss_type="alphapo", use_cpu=True, bf16=False, report_to="none")
    return cpo(sample, loss=found.loss_type, beta=beta, nll_weight=found.cpo_alpha, gamma=gamma, alpha=found.alpha)


def orpo(sample: Sample, *, beta: float) -> Tensor:
    """ORPOTrainer's loss of a batch."""
    trainer = bare(
        ORPOTrainer, beta=beta, is_encoder_decoder=False, aux_loss_enabled=False, padding_value=0,
        accelerator=OneProcess(),
    )  # fmt: skip
    return trainer.get_batch_loss_metrics(policy_of(sample), _two_sides(sample))[0]


def tpo(
    sample: Sample, *, loss: str, beta: float, label_smoothing: float = 0.0, gamma: float = 0.5, nll_weight: float = 0.0
) -> Tensor:
    """TPOTrainer's loss of a batch; the third, gold completion that its NLL needs is the chosen one."""
    gold = list(range(len(sample.ids) // 2)) if nll_weight else []
    rows = [*range(len(sample.ids)), *gold]
    batch = {"input_ids": sample.ids[rows], "attention_mask": sample.attention[rows]}
    policy = Scripted((sample.ids[rows], sample.logits[rows]))
    trainer = bare(
        TPOTrainer, model=policy, loss_type=loss, beta=beta, label_smoothing=label_smoothing, tpo_alpha=nll_weight,
        tpo_l_gamma=gamma, accelerator=OneProcess(), _total_train_tokens=0, _tp_size=1,
        _metrics={"train": defaultdict(list)},
    )  # fmt: skip
    return trainer._compute_loss(policy, batch | {"completion_mask": sample.completion[rows]}, return_outputs=False)


def online(sample: Sample, *, loss: str, beta: float) -> Tensor:
    """OnlineDPOTrainer's loss of a batch whose prompts are of one length: the sample is what was generated.

    The completions of the first half are those that the rewards prefer.
    """
    width, half = len(sample.prompts[0]), len(sample.ids) // 2
    process = OneProcess()
    whole, old = policy_of(sample), reference_of(sample)
    trainer = bare(
        OnlineDPOTrainer, model=whole, ref_model=old, accelerator=process, _beta=beta, max_length=sample.ids.shape[1],
        eos_token_ids=[0], reward_funcs=None, stats=defaultdict(list), state=SimpleNamespace(global_step=1),
        args=SimpleNamespace(
            use_vllm=False, missing_eos_penalty=None, loss_type=loss, torch_empty_cache_steps=None, optim="adamw",
            n_gpu=1, gradient_accumulation_steps=1,
        ),
        processing_class=SimpleNamespace(batch_decode=lambda ids, **_: ["text"] * len(ids)),
        _generate=lambda *_: (
            sample.ids[:, :width], sample.attention[:, :width], sample.ids[:, width:], sample.attention[:, width:], None
        ),
        _calculate_rewards_from_functions=lambda **_: torch.tensor([1.0] * half + [0.0] * half),
    )  # fmt: skip
    trainer.training_step(whole, {"prompt": ["text"] * half})
    assert process.loss is not None
    return process.loss


def _two_sides(sample: Sample) -> dict[str, Tensor]:
    half = len(sample.ids) // 2
    sides = {"chosen": slice(half), "rejected": slice(half, None)}
    return {
        f"{side}_{name}": values[rows]
        for side, rows in sides.items()
        for name, values in (
            ("input_ids", sample.ids), ("attention_mask", sample.attention), ("labels", sample.labels)
        )
    }  # fmt: skip

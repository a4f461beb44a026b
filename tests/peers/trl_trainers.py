"""What is found out by making trl's real trainers and callbacks: refusals, moving references, order of rows."""

import copy
import tempfile
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import BEMACallback, DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SyncRefModelCallback
from trl.data_utils import unpair_preference_dataset

from bench.train.distributed.sharding import move_reference
from losses import get
from tests.peers.stand_ins import bare

STEPS = 6


def dpo_refuses(loss: str, *, saying: str, **settings: Any) -> None:
    """DPOTrainer is not made with these settings, and its error says ``saying``."""
    rows = {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]}
    with pytest.raises((ValueError, NotImplementedError), match=saying):
        _made(DPOTrainer, DPOConfig, rows, loss_type=[loss], **settings)


def kto_refuses_one_row() -> None:
    """KTOTrainer is not made for batches of one row."""
    rows = {"prompt": ["a"], "completion": ["b"], "label": [True]}
    with pytest.raises(ValueError, match=r"(?i)batch.size"):
        _made(KTOTrainer, KTOConfig, rows, per_device_train_batch_size=1)


def same_moving_reference() -> None:
    """trl's callback and ours move a reference at the same steps to the same weights."""
    policies = _policies()
    theirs, ours = copy.deepcopy(policies[0]), copy.deepcopy(policies[0])
    callback = SyncRefModelCallback(ref_model=theirs, accelerator=Accelerator(cpu=True))
    settings = {"alpha": 0.6, "every": 2}
    schedule = get("tr_dpo").reference_schedule(settings)
    args = SimpleNamespace(ref_model_sync_steps=2, ref_model_mixup_alpha=0.6)
    for step, policy in enumerate(policies[1:], start=1):
        callback.on_step_end(args, SimpleNamespace(global_step=step), None, model=policy)
        if (weight := schedule.weight_after(step, STEPS)) > 0:
            move_reference(ours, policy, weight)
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-12)


def bema_without_its_correction() -> None:
    """BEMA with a constant rate and a vanishing correction is a plain average; by default it is not."""
    plain = {"multiplier": 0.0, "lag": 10, "ema_power": 2.0, "bias_power": 400.0}
    ours, theirs = _averaged(**plain)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    ours, theirs = _averaged()
    assert (ours - theirs).abs().max() > 1e-3


def unpaired_in_blocks() -> None:
    """The labels of unpaired pairs stand in two blocks, and another order than theirs is refused."""
    rows = Dataset.from_dict({"prompt": ["a"] * 3, "chosen": ["b"] * 3, "rejected": ["c"] * 3})
    unpaired = unpair_preference_dataset(rows)
    assert list(unpaired["label"]) == [True] * 3 + [False] * 3
    with pytest.raises(ValueError, match="sequential"):
        _made(KTOTrainer, KTOConfig, unpaired.to_dict(), train_sampling_strategy="random")


def mismatched_when_mapped() -> None:
    """The completion that a row's KL estimate is taken at is that of the row before it in a block of fixed size."""
    letters = ["a", "b", "c", "d"]
    rows = Dataset.from_dict({"prompt": ["a "] * 4, "completion": letters, "label": [True, False] * 2})
    tokenizer = _tokenizer()
    trainer = bare(KTOTrainer, calculate_KL=True, _tokenizer=tokenizer, desirable_weight=1, undesirable_weight=1)
    args = SimpleNamespace(dataset_num_proc=None, max_length=None, per_device_train_batch_size=2)
    prepared = trainer._prepare_dataset(rows, tokenizer, args, "train")
    matched, mismatched = ([ids[0] for ids in prepared[name]] for name in ("completion_ids", "KL_completion_ids"))
    assert tokenizer.convert_ids_to_tokens(matched) == letters
    assert tokenizer.convert_ids_to_tokens(mismatched) == ["b", "a", "d", "c"]


def another_sdpo() -> None:
    """The docstring of trl's SDPO names what it is."""
    from trl.experimental.sdpo import SDPOTrainer  # trl warns on import of trl.experimental

    assert "Self-Distill" in (SDPOTrainer.__doc__ or "") + str(vars(SDPOTrainer).get("_paper"))


def _averaged(**settings: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of ema_dpo's reference at decay 0.99 and of BEMA's model, after the same policies."""
    policies = _policies()
    live, ours = copy.deepcopy(policies[0]), copy.deepcopy(policies[0])
    live.config = None
    callback = BEMACallback(update_freq=1, **settings)
    callback.running_model = copy.deepcopy(policies[0])
    callback.thetat_params = list(live.parameters())
    callback.theta0_params = [values.detach().clone() for values in live.parameters()]
    callback.ema_params = [values.detach().clone() for values in live.parameters()]
    schedule = get("ema_dpo").reference_schedule({"decay": 0.99})
    for step, policy in enumerate(policies[1:], start=1):
        live.load_state_dict(policy.state_dict())
        callback.on_step_end(None, SimpleNamespace(global_step=step), None, live)
        move_reference(ours, policy, schedule.weight_after(step, STEPS))
    return ours.weight.detach(), callback.running_model.weight.detach()


def _policies() -> list[nn.Linear]:
    """A start model and its states after each of six steps."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(STEPS + 1):
        model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        model.weight.data.normal_(generator=generator)
        found.append(model)
    return found


def _made(trainer: type, config: type, rows: dict[str, list[Any]], **settings: Any) -> None:
    tokenizer = _tokenizer()
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    with tempfile.TemporaryDirectory() as folder:
        args = config(output_dir=folder, use_cpu=True, bf16=False, report_to="none", **settings)
        trainer(
            model=model,
            ref_model=copy.deepcopy(model),
            args=args,
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
        )


def _tokenizer() -> PreTrainedTokenizerFast:
    words = ("<pad>", "<eos>", "<unk>", "a", "b", "c", "d")
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")

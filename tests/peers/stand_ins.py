"""What stands in for a model and for accelerate, so that a peer's own method runs on logits that we chose."""

import warnings
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.peers.sample import Sample

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # trl warns that trl.experimental may change
    from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

ALL_OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs")


class Scripted(nn.Module):
    """A language model that answers the token ids it knows with the logits it was given."""

    is_gradient_checkpointing = False

    def __init__(self, *answers: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.answers = list(answers)

    def forward(self, input_ids: Tensor, **asked: Any) -> SimpleNamespace | FusedCausalLMOutput:
        logits = self.logits_of(input_ids)
        if not asked.get("fused_lm_head"):
            return SimpleNamespace(logits=logits)
        return scored(logits, asked["labels"])

    def logits_of(self, input_ids: Tensor) -> Tensor:
        """Return the logits of known token ids."""
        for ids, logits in self.answers:
            if torch.equal(ids, input_ids):
                return logits
        raise AssertionError("the peer laid out its batch in another way than ours")


class WithHead(Scripted):
    """The same with logits as hidden states under an identity as LM head, for trl's own fused head on top."""

    def __init__(self, *answers: tuple[Tensor, Tensor]) -> None:
        super().__init__(*answers)
        width = answers[0][1].shape[-1]
        self.head = nn.Linear(width, width, bias=False, dtype=answers[0][1].dtype)
        self.head.weight.requires_grad_(False).copy_(torch.eye(width))
        self.config = SimpleNamespace(get_text_config=SimpleNamespace)
        add_fused_lm_head(self, outputs=ALL_OUTPUTS)

    def base_model(self, input_ids: Tensor, **asked: Any) -> SimpleNamespace:
        """The model below its head."""
        return SimpleNamespace(last_hidden_state=self.logits_of(input_ids))

    def get_output_embeddings(self) -> nn.Linear:
        """The head."""
        return self.head


def scored(logits: Tensor, labels: Tensor) -> FusedCausalLMOutput:
    """What trl's fused head gives, in the precision of the logits (its own works in float32)."""
    logps, targets = logits[:, :-1].log_softmax(-1), labels[:, 1:]
    outside = targets == -100
    chosen = logps.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    detached = logps.detach()
    return FusedCausalLMOutput(
        log_probs=chosen.masked_fill(outside, 0),
        entropy=-(detached.exp() * detached).sum(-1).masked_fill(outside, 0),
        mean_logits=logits[:, :-1].detach().mean(-1).masked_fill(outside, 0),
        is_top1=(detached.argmax(-1) == targets).masked_fill(outside, False),
        log_sum_sq_probs=(2 * detached).logsumexp(-1).masked_fill(outside, 0),
    )


def policy_of(sample: Sample, model: type[Scripted] = Scripted) -> Scripted:
    """The model that answers a sample with the policy's logits."""
    return model(*((each.ids, each.logits) for each in (sample, sample.mismatched) if each is not None))


def reference_of(sample: Sample, model: type[Scripted] = Scripted) -> Scripted:
    """The model that answers a sample with the reference's logits."""
    return model(*((each.ids, each.reference) for each in (sample, sample.mismatched) if each is not None))


class OneProcess:
    """accelerate's Accelerator as far as losses use it, in a run of one process; keeps the loss of ``backward``."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.loss: Tensor | None = None

    def gather(self, value: Tensor) -> Tensor:
        """What all processes have."""
        return value

    def gather_for_metrics(self, value: Tensor) -> Tensor:
        """What all processes have."""
        return value

    def unwrap_model(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def backward(self, loss: Tensor) -> None:
        """Keep the loss instead of differentiating it."""
        self.loss = loss


def bare(trainer: type, **attributes: Any) -> Any:
    """A trainer with its own methods, without model loading, data and optimiser: only with these attributes."""
    made = object.__new__(trainer)
    vars(made).update(attributes)
    return made

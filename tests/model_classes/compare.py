"""Comparison of our log-probs and gradients with a model's own forward pass, one row at a time, on rows of our own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bench.core.specs import LoraSpec
from bench.errors import BenchError
from bench.models.compat import plain_model
from bench.models.loading import with_lora
from bench.models.logprobs import CompletionLogProbs
from tests.model_classes.build import VOCABULARY, build

LORA = LoraSpec(rank=4, alpha=8.0)
PAD = 0
SEEDS = (7, 8, 9)
Row = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one class.

    Fields:
        way: how its rows are scored (``bench.models.completion_logits``), or «refused», or «not built».
        reason: why not the fastest way, or the refusal.
        logps, gradients: largest difference from the model's own forward pass, nats; and relative to the largest
            gradient. None where there is nothing to compare.
    """

    model_type: str
    name: str
    way: str
    reason: str = ""
    logps: float | None = None
    gradients: float | None = None
    seconds: float = 0.0


def outcome(model_type: str, *, packed: bool = True, lora: bool = False) -> Outcome:
    """Build a class, score and differentiate rows as a training does, and compare."""
    try:
        model = build(model_type)
    except Exception as error:
        return Outcome(model_type=model_type, name="", way="not built", reason=_line(error))
    name = type(model).__name__
    started = time.perf_counter()
    try:
        if lora:
            model = _adapted(model)
        scored = CompletionLogProbs(model, packed=packed, longest=60)
    except BenchError as error:
        return Outcome(model_type=model_type, name=name, way="refused", reason=_line(error))
    except ValueError as error:  # peft's own
        return Outcome(model_type=model_type, name=name, way="refused", reason=_line(error))
    seconds = time.perf_counter() - started
    rows = [row for seed in SEEDS for row in rows_of(seed=seed)]
    got, slopes = _ours(scored, rows)
    wanted, own = _own(model, rows)
    largest = max(float(each.abs().max()) for each in own.values())
    far = max(float((slopes[key] - own[key]).abs().max()) for key in own) / max(largest, 1e-30)
    return Outcome(
        model_type=model_type,
        name=name,
        way=scored.way,
        reason="; ".join(scored.reasons),
        logps=float((got - wanted).abs().max()),
        gradients=far,
        seconds=seconds,
    )


def rows_of(*, seed: int) -> list[Row]:
    """Return rows of unlike lengths, two prompts shared, some longer than every small window."""
    generator = torch.Generator().manual_seed(seed)

    def take(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(4, VOCABULARY - 10, (count,), generator=generator).tolist())

    one, two = take(8), take(31)
    return [(one, take(5)), (two, take(9)), (take(3), take(2)), (one, take(33)), (two, take(4)), (take(17), take(20))]


def _adapted(model: PreTrainedModel) -> torch.nn.Module:
    adapted = with_lora(model, LORA, seed=3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # they start at zero, where an adapter would hide
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapted.eval()


def _ours(scored: CompletionLogProbs, rows: Sequence[Row]) -> tuple[Tensor, dict[str, Tensor]]:
    scores = scored(scored.lay(rows, pad_id=PAD))
    logps = scores.logps[scores.mask]
    return logps.detach(), _gradients(scored.model, logps)


def _own(model: torch.nn.Module, rows: Sequence[Row]) -> tuple[Tensor, dict[str, Tensor]]:
    parts = []
    for prompt, completion in rows:
        ids = torch.tensor([[*prompt, *completion]])
        logits = plain_model(model)(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        labels = torch.tensor(completion)[:, None]
        parts.append(logits[len(prompt) - 1 :].gather(-1, labels).squeeze(-1))
    logps = torch.cat(parts)
    return logps.detach(), _gradients(model, logps)


def _gradients(model: torch.nn.Module, logps: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    weights = torch.linspace(0.5, 1.5, len(logps))  # so that no symmetry hides a wrong order
    (logps * weights).sum().backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]

"""Random batches for the peers: token ids as their collators lay them out, logits, and our view of the same."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from losses import Completion, Pairs, Singles

VOCABULARY = 7
PAIRS = 6
SPREADS = (0.5, 2.0, 4.0)
"""Standard deviation of the policy's logits, by seed: from nearly uniform to nearly certain."""
SEEDS = tuple(range(len(SPREADS)))

Tokens = list[list[int]]


@dataclass(frozen=True)
class Sample:
    """Rows of prompt, completion and padding on the right: the chosen completions of all prompts, then the rejected.

    Fields:
        prompts, completions: token ids of each row, without padding.
        ids, attention, completion: [rows, width], the same padded; 1 on tokens and on completion tokens.
        logits, reference: [rows, width, vocabulary]; those of the policy are a leaf that gets a gradient.
        mismatched: every prompt with the completion of the row before it, for estimates of the KL divergence.
    """

    prompts: Tokens
    completions: Tokens
    ids: Tensor
    attention: Tensor
    completion: Tensor
    logits: Tensor
    reference: Tensor
    mismatched: "Sample | None" = None

    @property
    def labels(self) -> Tensor:
        """Token ids of completions, -100 elsewhere."""
        return self.ids.masked_fill(self.completion == 0, -100)


def draw(seed: int, *, even_prompts: bool = False) -> Sample:
    """Draw a batch; its numbers are exact in float32, so that every precision sees the same ones."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(most: int, least: int = 1) -> list[int]:
        length = int(torch.randint(least, most + 1, (), generator=generator))
        return torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()

    prompts = [tokens(3, 3 if even_prompts else 1) for _ in range(PAIRS)] * 2
    completions = [tokens(6) for _ in prompts]
    matched = _laid_out(prompts, completions, generator, SPREADS[seed])
    rotated = _laid_out(prompts, completions[-1:] + completions[:-1], generator, SPREADS[seed])
    return replace(matched, mismatched=rotated)


def cast(sample: Sample, dtype: torch.dtype) -> Sample:
    """The same numbers in another precision, with a leaf of its own."""
    other = None if sample.mismatched is None else cast(sample.mismatched, dtype)
    leaf = sample.logits.detach().to(dtype).requires_grad_()
    return replace(sample, logits=leaf, reference=sample.reference.to(dtype), mismatched=other)


def pairs(sample: Sample, *, mask: Tensor | None = None) -> Pairs:
    """Our batch of the same tokens; ``mask`` [rows, width] stands in for that of the completions."""
    half = len(sample.ids) // 2
    return Pairs(side(sample, slice(half), mask=mask), side(sample, slice(half, None), mask=mask))


def swapped(batch: Pairs) -> Pairs:
    """Every pair the other way round."""
    return Pairs(batch.rejected, batch.chosen)


def singles(sample: Sample, kl_baseline: Tensor | None = None) -> Singles:
    """All rows one by one, the first half desirable; by default the KL estimate is that of the mismatched rows."""
    if kl_baseline is None:
        kl_baseline = kl_estimate(sample).clamp(min=0)
    return Singles(side(sample, slice(None)), desirable(sample), kl_baseline)


def desirable(sample: Sample) -> Tensor:
    """The labels of ``singles``."""
    return torch.arange(len(sample.ids)) < len(sample.ids) // 2


def kl_estimate(sample: Sample) -> Tensor:
    """Mean log-ratio of the mismatched rows, not clamped, without gradient."""
    assert sample.mismatched is not None
    return side(sample.mismatched, slice(None)).log_ratio.mean().detach()


def side(sample: Sample, rows: slice, *, mask: Tensor | None = None) -> Completion:
    """Our view of some rows: the logits at a place are those of the next token."""
    targets = sample.ids[rows, 1:, None]
    policy = sample.logits[rows, :-1].log_softmax(-1)
    reference = sample.reference[rows, :-1].log_softmax(-1)
    chosen = sample.completion if mask is None else mask
    return Completion(
        policy_logps=policy.gather(-1, targets).squeeze(-1),
        reference_logps=reference.gather(-1, targets).squeeze(-1),
        mask=chosen[rows, 1:].bool(),
        log_collision=(2 * policy.detach()).logsumexp(-1),
    )


def part(sample: Sample, start: int, stop: int) -> Sample:
    """Pairs ``start`` to ``stop`` as a batch of their own, no wider than they need."""
    half = len(sample.ids) // 2
    rows = [*range(start, stop), *range(half + start, half + stop)]
    width = int(sample.attention[rows].sum(-1).max())
    return Sample(
        [sample.prompts[row] for row in rows],
        [sample.completions[row] for row in rows],
        *(
            values[rows, :width]
            for values in (sample.ids, sample.attention, sample.completion, sample.logits, sample.reference)
        ),
    )


def _laid_out(prompts: Tokens, completions: Tokens, generator: torch.Generator, spread: float) -> Sample:
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    width = max(map(len, rows))
    ids, attention, completion = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        attention[i, : len(row)] = 1
        completion[i, len(prompts[i]) : len(row)] = 1
    logits = spread * torch.randn(len(rows), width, VOCABULARY, generator=generator)
    reference = logits + 0.5 * torch.randn(logits.shape, generator=generator)
    return Sample(
        prompts, completions, ids, attention, completion, logits.double().requires_grad_(), reference.double()
    )


def single_tokens(policy: tuple[float, float], reference: tuple[float, float], dtype: torch.dtype) -> Sample:
    """One pair of completions of one token each, with the given log-probs (chosen, rejected), for extreme values."""
    ids = torch.ones(2, 2, dtype=torch.long)
    completion = torch.tensor([[0, 1], [0, 1]])

    def logits(logps: tuple[float, float]) -> Tensor:
        logp = torch.tensor(logps, dtype=torch.float64)
        odds = torch.stack((torch.zeros_like(logp), logp - torch.log(-torch.expm1(logp))), dim=-1)
        return odds[:, None].expand(2, 2, 2).to(dtype)

    leaf = logits(policy).clone().requires_grad_()
    return Sample([[1]] * 2, [[1]] * 2, ids, torch.ones_like(ids), completion, leaf, logits(reference))

"""Owns sampled completions: drawing them with common random numbers, their KL from the reference, their metrics."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.evaluate.metric import Measured, mean_metrics
from bench.evaluate.samples import SampleRow, Samples
from bench.report.record import Metric

if TYPE_CHECKING:
    from torch import Tensor

TASK = "generation"
HIGHER = ("gold_reward", "target")
"""What is better where it is higher."""
LOGITS_AT_ONCE = 1 << 22
"""Logits of one model that the KL holds at once (16 MiB in float32), unless one row alone has more."""


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    eos_id: int,
    batch: int = 256,
) -> Samples:
    """Sample one completion for each prompt from softmax(logits / temperature): no top-k, no top-p.

    Common random numbers: prompt i's token t inverts the model's CDF at u[i, t], and ``u [prompts, max_tokens]`` is
    drawn from ``seed`` before anything else. Two models that are sampled on the same prompts share u, so their
    completions agree until the models differ, and differences between the models are paired. ``batch`` changes
    nothing but rounding. Prompts of one length are sampled together, so that nothing is padded.

    Args:
        model: a causal language model of transformers. It is left in the mode (train, eval) that it had, and no
            global generator is touched.
        prompts: token ids; at least one each (start an empty text with BOS).
        max_tokens: the longest completion, the end token counted.

    Raises:
        UsageError: an empty prompt, or a prompt and completion longer than the model's context.
    """
    import torch

    _check_prompts(model, prompts, max_tokens=max_tokens)
    # Drawn on the CPU, so that the noise is the same on every device.
    noise = torch.rand((len(prompts), max_tokens), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    completions: list[tuple[int, ...]] = [()] * len(prompts)
    with torch.no_grad(), evaluating(model):
        for indices in by_length.values():
            for start in range(0, len(indices), batch):
                part = indices[start : start + batch]
                ids = torch.tensor([list(prompts[index]) for index in part], device=model.device)
                drawn = _continue(model, ids, noise[part].to(ids.device), temperature=temperature, eos_id=eos_id)
                for index, tokens in zip(part, drawn.tolist(), strict=True):
                    completions[index] = tuple(tokens[: tokens.index(eos_id) + 1] if eos_id in tokens else tokens)
    return Samples(
        prompts=tuple(tuple(prompt) for prompt in prompts),
        completions=tuple(completions),
        ended=tuple(completion[-1] == eos_id for completion in completions),
    )


def _check_prompts(model: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int) -> None:
    context = getattr(model.config, "max_position_embeddings", None) or math.inf
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise UsageError(f"prompt {index} is empty: there is nothing to continue", fix="start a text with BOS")
        if len(prompt) + max_tokens > context:
            raise UsageError(
                f"prompt {index} has {len(prompt)} tokens; with {max_tokens} sampled ones it exceeds the model's "
                f"context of {context}",
                fix=f"sample at most {max(0, context - len(prompt))} tokens, or leave out long prompts",
            )


def _continue(model: Any, ids: "Tensor", noise: "Tensor", *, temperature: float, eos_id: int) -> "Tensor":
    """Return sampled ids ``[rows, ≤ max_tokens]``; what stands after a row's end token is meaningless."""
    import torch
    from transformers import DynamicCache

    cache, fed, drawn = DynamicCache(config=model.config), ids, []
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for step in range(noise.shape[1]):
        logits = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        fed = invert_cdf(logits.float() / temperature, noise[:, step])[:, None]
        drawn.append(fed)
        ended |= fed[:, 0] == eos_id
        if bool(ended.all()):
            break
    return torch.cat(drawn, dim=1)


def invert_cdf(logits: "Tensor", uniform: "Tensor") -> "Tensor":
    """Return the first token whose cumulated probability exceeds ``uniform [rows]``, for ``logits [rows, vocab]``.

    Cumulated in float64, and never a token of probability zero.
    """
    import torch

    cdf = torch.softmax(logits, dim=-1).double().cumsum(dim=-1)
    # Scaled by the last entry, which rounding keeps from being exactly one.
    return torch.searchsorted(cdf, uniform[:, None] * cdf[:, -1:], right=True).squeeze(1).clamp(max=cdf.shape[1] - 1)


def sequence_kl(policy: Any, reference: Any, samples: Samples, *, batch: int) -> "Tensor":
    """Return Σ_t KL(π(·|x, y_<t) ‖ π_ref(·|x, y_<t)) for each sampled completion y, float64 ``[prompts]``, in nats.

    This is the sequence-level KL of the DPO paper (arXiv 2305.18290, section 6.1): at each position of the policy's
    own sample the KL is exact over the vocabulary, and positions are summed. Its mean is KL(π‖π_ref) of whole
    (truncated) completions, as is that of log π(y|x) − log π_ref(y|x); but it is never negative and has a lower
    variance, because each token's part of the noise is integrated out. True of samples drawn at temperature 1.

    Args:
        batch: rows in one forward pass at most; fewer where their logits would exceed ``LOGITS_AT_ONCE``.
    """
    import torch

    order = sorted(
        range(len(samples.prompts)), key=lambda i: (len(samples.prompts[i]) + len(samples.completions[i]), i)
    )
    longest = max((len(completion) for completion in samples.completions), default=1)
    rows = max(1, min(batch, LOGITS_AT_ONCE // (longest * policy.config.vocab_size)))
    found = torch.zeros(len(order), dtype=torch.float64)
    with torch.no_grad(), evaluating(policy), evaluating(reference):
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            found[part] = _kl_of_rows(
                policy, reference, [samples.prompts[i] for i in part], [samples.completions[i] for i in part]
            ).cpu()
    return found


def _kl_of_rows(
    policy: Any, reference: Any, prompts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]]
) -> "Tensor":
    import torch

    from bench.logprobs import completion_logits

    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + (0,) * (width - len(row)) for row in rows], device=policy.device)
    place = torch.arange(width, device=policy.device)
    attended = place < torch.tensor([[len(row)] for row in rows], device=policy.device)
    mask = (attended & (place >= torch.tensor([[len(prompt)] for prompt in prompts], device=policy.device)))[:, 1:]
    log_p = completion_logits(policy, ids, attended, mask).float().log_softmax(dim=-1)
    log_q = completion_logits(reference, ids, attended, mask).float().log_softmax(dim=-1)
    p = log_p.exp()
    log_ratio = log_p.sub_(log_q)
    per_token = (p * log_ratio).sum(dim=-1)
    if bool(per_token.isnan().any()):
        # A masked token has p = 0 and log p = −∞; the term's limit is zero. A NaN in p itself stays.
        per_token = (p * log_ratio.masked_fill_(p == 0, 0.0)).sum(dim=-1)
    per_token = per_token.double().clamp(min=0.0)  # rounding alone can take a KL of zero below it
    return per_token.new_zeros(mask.shape).masked_scatter(mask, per_token).sum(dim=1)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Hold the model in eval mode, then give each of its modules back the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def diversity(completions: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return ``distinct_1`` and ``distinct_2``: distinct n-grams ÷ n-grams of all completions (arXiv 1510.03055).

    Over token ids, the end token counted. 0 where there is no n-gram.
    """
    shares = {}
    for size in (1, 2):
        grams = Counter(
            tuple(completion[i : i + size]) for completion in completions for i in range(len(completion) - size + 1)
        )
        shares[f"distinct_{size}"] = len(grams) / grams.total() if grams else 0.0
    return shares


def per_prompt(rows: Sequence[SampleRow], *, beta0: float) -> dict[str, NDArray[np.float64]]:
    """Return what each prompt's sample scored, in the prompts' order: gold reward, KL (nats), target, length (tokens).

    ``target`` is J = gold − β₀·KL; the end token counts in ``length``.
    """
    reward, divergence = np.array([row.gold for row in rows]), np.array([row.kl for row in rows])
    length = np.array([float(len(row.completion_ids)) for row in rows])
    return {"gold_reward": reward, "kl": divergence, "target": reward - beta0 * divergence, "length": length}


def degenerate(rows: Sequence[SampleRow]) -> dict[str, NDArray[np.float64]]:
    """Return a flag (0 or 1) for each sample that is no answer: empty, the prompt again, or one token throughout.

    ``repeated_share`` flags what another prompt got too, word for word.
    """
    texts = [row.text.strip() for row in rows]
    often = Counter(texts)
    return {
        "empty_share": np.array([float(not text) for text in texts]),
        "copied_share": np.array([float(bool(t) and t == r.prompt.strip()) for t, r in zip(texts, rows, strict=True)]),
        "constant_share": np.array(
            [float(len(r.completion_ids) > 3 and len(set(r.completion_ids)) == 1) for r in rows]
        ),
        "repeated_share": np.array([float(bool(text) and often[text] > 1) for text in texts]),
    }


def generation_metrics(rows: Sequence[SampleRow], *, beta0: float, split: str) -> tuple[Metric, ...]:
    """Return the metrics of task "generation".

    The target's standard error is taken per prompt, so that it has the covariance of reward and KL. A standard error is
    the standard deviation over prompts ÷ √n.

    Raises:
        ValueError: there are no rows.
    """
    measured: Measured = {
        **{name: (each, True if name in HIGHER else None) for name, each in per_prompt(rows, beta0=beta0).items()},
        "ended_share": (np.array([float(row.ended) for row in rows]), None),
        **{name: (flags, False) for name, flags in degenerate(rows).items()},
    }
    return mean_metrics(measured, task=TASK, split=split) + tuple(
        Metric(task=TASK, split=split, name=name, value=value, n=len(rows))
        for name, value in diversity([row.completion_ids for row in rows]).items()
    )

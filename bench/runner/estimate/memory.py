"""Peak memory of a plan's processes, from the model's shape and what a step keeps for its backward pass."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.models.packed.forward import chunk_tokens
from bench.runner.estimate.amounts import Amounts, moved_share
from bench.runner.estimate.probe import Rates
from bench.runner.search import Search
from bench.train.objective_batch import needs_vocabulary

WEIGHT = 4.0
"""Bytes of a weight, a gradient, or one of AdamW's two moments: float32 each."""
CHUNK_COPIES = 3.0
"""Logits, probabilities and their slopes of the head's chunk, float32 (docs/scaling.md)."""
DRAWN_COPIES = 32.0
"""Bytes of one logit while a token is drawn: float32 logits and probabilities, float64 probabilities and their sums."""
LIBRARIES = 250e6
"""Bytes that lm-eval, alpaca-eval, matplotlib and the matrix libraries' kernels take, which a plan does not load:
as measured, ± 100 MB."""
TOKEN = 36.0
"""Bytes of a token of the data while they are Python's integers in tuples."""
CUDA_CONTEXT = 0.6e9
"""Bytes that CUDA and its libraries take of a device, whatever is computed."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes. ``process``: of the one with most at its peak; ``all``: of all workers and ranks together; ``device``: of
    a GPU by one of its processes, None on a CPU."""

    process: float
    all: float
    device: float | None


def memory_of(
    amounts: Amounts, rates: Rates | None, searches: Sequence[Search], *, base: float, workers: int, gpu: bool
) -> Memory:
    """Return the peak memory of a plan's ``searches``.

    Args:
        base: bytes that this process had before the probe: interpreter, libraries, the sample of the data.
        rates: None where nothing could be measured: activations are then left out.
        gpu: whether models are on a GPU.
    """
    shape, plan = amounts.outline.shape, amounts.plan
    execution, train = plan.workspace.execution, plan.workspace.train
    ranks = execution.processes
    start = WEIGHT * shape.parameters
    moving = any(needs_vocabulary(search.objective) or moved_share(plan, search) > 0 for search in searches)
    policy = start + 3 * WEIGHT * shape.trained + (WEIGHT * shape.trained if train.lora is not None else 0.0)
    policy += start if moving else 0.0
    if execution.shard == "fsdp2":
        policy /= ranks
    size = min(execution.micro_batch, max(1, train.batch // ranks))
    saved = 0.0
    if rates is not None and rates.layered:
        saved = (rates.saved[0] * shape.layers + rates.saved[1]) * amounts.seen * size
    head = WEIGHT * CHUNK_COPIES * chunk_tokens(shape.vocabulary) * shape.vocabulary if amounts.packed else 0.0
    training = policy + saved + head
    evaluation = start
    if plan.workspace.evaluator.samples:
        drawn = min(256, max((len(prompts) for prompts in plan.workspace.prompts.values()), default=0))
        cached = 2 * WEIGHT * shape.layers * shape.hidden * (amounts.longest + plan.workspace.evaluation.tokens)
        evaluation += drawn * (DRAWN_COPIES * shape.vocabulary + cached)
    arrays = max(training, evaluation)
    data = TOKEN * amounts.seen * amounts.outline.rows if amounts.outline.sampled else 0.0
    shared = base + LIBRARIES + data
    if gpu:
        whole = shared + 2 * start
        return Memory(process=whole, all=whole * workers * ranks, device=CUDA_CONTEXT + start + arrays)
    process = shared + start + arrays
    # Forked workers share what the command loaded before: libraries, data, the start model.
    own = arrays + LIBRARIES
    every = process if workers * ranks == 1 else base + data + start + own * workers * ranks
    return Memory(process=process, all=every, device=None)


def resident_bytes() -> float:
    """Return what this process has in memory now; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0.0
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * 4096.0

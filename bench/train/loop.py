"""The training loop: one readable function, for one process or many ranks and for every objective."""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from bench.core.specs import Execution, RunSpec, TrainSpec
from bench.data.tokens import Encoded
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import ReferenceLogProbs
from bench.train import objective_batch
from bench.train.checkpoint import TrainState, load_state, save_state
from bench.train.distributed.parallelize import any_rank, check_alike, shard, share, sharing_of, start_afresh
from bench.train.distributed.sharding import move_reference
from bench.train.micro_batch import Setting
from bench.train.sampler import batch_units, schedule_of, stage_order, stage_span, step_units
from bench.train.step import optimiser_step
from losses import Objective, Requires

VERSION = 1
logger = logging.getLogger(__name__)
CURVES = (
    "step", "loss", "accuracy", "margin", "chosen_logp", "rejected_logp", "grad_norm", "learning_rate", "entropy",
    "chosen_top1",
)  # fmt: skip


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; what resuming needs is on disk."""


@dataclass(kw_only=True)
class Progress:
    """What training leaves behind besides the weights; grows step by step and is saved for resuming.

    ``tokens`` went through the policy with a gradient; ``forward_tokens`` adds the KL baseline's and a live
    reference's passes. ``curves`` has one list a name and one entry a logged step. ``objective_state`` holds the
    running quantities of objectives that have them; ``layout`` says how rows were laid out, and why if padded.
    """

    status: str = "completed"
    error: str | None = None
    steps: int = 0
    tokens: int = 0
    forward_tokens: int = 0
    clipped_steps: int = 0
    seconds: float = 0.0
    world_size: int = 1
    layout: str = "padded"
    sharing: str = "alone"
    curves: dict[str, list[float | None]] = field(default_factory=lambda: {name: [] for name in CURVES})
    objective_state: dict[str, float] | None = None


def train(
    model: torch.nn.Module,
    *,
    spec: RunSpec,
    objective: Objective,
    data: Encoded,
    reference: ReferenceLogProbs | None,
    execution: Execution,
    accelerator: Accelerator,
    state: Path,
    report: Callable[[int, dict[str, float | None]], None],
    should_stop: Callable[[], bool],
    ends_early: Callable[[int], bool] = lambda step: False,
) -> Progress:
    """Train ``model`` in place as ``spec`` says, on as many ranks as ``accelerator`` has.

    Args:
        model: a causal LM, with adapters where only they are to be trained. Dropout stays off but in adapters.
        data: token ids; for unpaired objectives pairs are taken apart and stay the unit of the batch.
        reference: log-probs of every row that will be asked for; None for objectives without reference.
        state: where the state for resuming lies.
        report: called after each logged step with its row of the curves.
        should_stop: asked after each step; True saves the state and raises ``Interrupted``.
        ends_early: asked after each step but the last, with the steps done; True ends the run as pruned.

    Raises:
        RunError: policy and reference differ at step 0, or the reference lacks a row.
    """
    train_spec, steps = spec.train, spec.train.steps
    schedule = schedule_of(objective, spec)
    setting = Setting(spec=spec, objective=objective, execution=execution, accelerator=accelerator, pad_id=data.pad_id)
    units, stages = batch_units(data, objective), stage_order(data, schedule, reference)
    vocabulary = bool(objective.requires & objective_batch.VOCABULARY)
    scored = CompletionLogProbs(
        model, packed=execution.layout == "packed", checkpointing=execution.gradient_checkpointing
    )
    if not scored.packed and execution.layout == "packed" and getattr(model, "packable", True):
        logger.warning("rows are padded, which is slower: %s", scored.why)
    moving = copy.deepcopy(scored) if vocabulary or not schedule.is_frozen else None
    sharing = sharing_of(accelerator, execution)
    policy, optimizer = share(scored, train=train_spec, sharing=sharing, accelerator=accelerator)
    if moving is not None:
        moving = shard(moving, accelerator) if sharing == "fsdp2" else moving.to(accelerator.device)
    progress = Progress()
    if (saved := load_state(state)) is not None:
        progress = Progress(**saved.progress)
        for name in CURVES:  # a state of before some were known
            progress.curves.setdefault(name, [None] * len(progress.curves["step"]))
        saved.restore(accelerator.unwrap_model(policy), optimizer, moving)
    progress.world_size, progress.layout, progress.sharing = accelerator.num_processes, scored.layout, sharing
    check_alike(accelerator, progress.steps)
    moved = any(schedule.weight_after(done, steps) > 0 for done in range(1, progress.steps + 1))
    clock = time.monotonic() - progress.seconds
    while progress.steps < steps:
        step = progress.steps
        _, first, length = stage_span(schedule, step, steps)
        if schedule.restart and step == first > 0:
            start_afresh(optimizer)
        rate = train_spec.learning_rate * lr_factor(step - first, length, train_spec)
        for group in optimizer.param_groups:
            group["lr"] = rate
        source = None
        if reference is not None and Requires.REFERENCE in objective.requires:
            source = objective_batch.cached(reference)
            if moving is not None and (moved or vocabulary):
                source = objective_batch.live(moving, vocabulary=vocabulary)
        batch = step_units(units, stages, schedule, spec=spec, step=step)
        logged = (step + 1) % execution.log_every == 0 or step + 1 == steps
        result = optimiser_step(
            policy,
            optimizer,
            batch,
            setting=replace(setting, objective=objective.at(step + 1, steps)),
            source=source,
            state=progress.objective_state,
            # Only a reference that the policy starts from says what the first loss must be.
            check_parity=step == 0 and spec.reference is None,
            watch=logged and _watched(step, steps, execution),
        )
        progress.steps += 1
        progress.objective_state = result.state or None
        _count(progress, result.sums["tokens"], result.extra_tokens, live=moved or vocabulary)
        progress.clipped_steps += result.grad_norm > train_spec.clip
        progress.seconds = time.monotonic() - clock
        if not result.finite:
            progress.status = "diverged"
            progress.error = f"step {progress.steps}: loss {result.sums['loss']}, gradient norm {result.grad_norm}"
            return progress
        if moving is not None and (weight := schedule.weight_after(progress.steps, steps)) > 0:
            move_reference(moving, accelerator.unwrap_model(policy), weight)
            moved = True
        row = {"step": float(progress.steps), **result.curve_row(), "learning_rate": rate}
        if logged:
            for name in CURVES:
                progress.curves[name].append(row[name])
            report(progress.steps, {**row, "tokens": float(progress.tokens), "seconds": progress.seconds})
        if progress.steps < steps and ends_early(progress.steps):
            progress.status = "pruned"
            return progress
        stop = any_rank(accelerator, should_stop())
        due = execution.checkpoint_every > 0 and progress.steps % execution.checkpoint_every == 0
        if stop or (due and progress.steps < steps):
            current = TrainState.of(accelerator.unwrap_model(policy), optimizer, moving, vars(progress))
            if accelerator.is_main_process:
                save_state(state, current)
        if stop:
            # A rank that ends makes torchrun end the others: none may go before the state is on disk.
            accelerator.wait_for_everyone()
            raise Interrupted
    return progress


def _watched(step: int, steps: int, execution: Execution) -> bool:
    """Whether a logged step (0-based) measures the policy's confidence: the first, the last, and some between."""
    every, log = execution.watch_every, execution.log_every
    if every == 0:
        return False
    # The first logged step in each span of ``every`` steps.
    return step + 1 == steps or step // every > (step - log) // every


def lr_factor(step: int, steps: int, train: TrainSpec) -> float:
    """Share of the peak learning rate at ``step`` of ``steps`` (0-based): linear warm-up, then the schedule."""
    warm = round(train.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    left = (steps - step) / max(1, steps - warm)
    return {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}[train.lr_schedule]


def _count(progress: Progress, tokens: float, extra_tokens: int, *, live: bool) -> None:
    progress.tokens += int(tokens)
    progress.forward_tokens += (int(tokens) + extra_tokens) * (2 if live else 1)

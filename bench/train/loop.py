"""The training loop, the same for one process and many ranks and for every objective."""

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from bench.core.specs import Execution, RunSpec, TrainSpec
from bench.data.tokens import Encoded
from bench.errors import RunError
from bench.models.dropout import dropout_of
from bench.models.logprobs import CompletionLogProbs
from bench.models.matmul import current_route
from bench.models.packed.kernels import kernels
from bench.train import objective_batch
from bench.train.checkpoint import TrainState, load_state, save_state
from bench.train.distributed.parallelize import any_rank, check_alike, shard, share, sharing_of, start_afresh
from bench.train.distributed.sharding import move_reference
from bench.train.micro_batch import TrainContext
from bench.train.progress import CURVES, Progress
from bench.train.sampler import Units, batch_units, schedule_of, stage_order, stage_span, step_rows
from bench.train.step import StepResult, optimiser_step
from bench.train.training_reference import TrainingReference
from losses import ReferenceSchedule, Requires, get

VERSION = 1
WITH_DROPOUT = 2
"""Version of runs with dropout, whose masks were drawn by a generator in version 1."""
logger = logging.getLogger(__name__)


def version_of(train: TrainSpec) -> int:
    """Return the version of a training; a change to any number raises it, for the runs that have another number."""
    return WITH_DROPOUT if train.lora is not None and train.lora.dropout > 0 else VERSION


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; what resuming needs is on disk."""


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """How a training reports, and how it is ended.

    ``report`` is called after each logged step with its number and its row of the curves. ``should_stop`` is asked
    after each step; True saves the state and raises ``Interrupted``. ``ends_early`` is asked after each step but the
    last, with the steps done; True ends the run as pruned.
    """

    report: Callable[[int, dict[str, float | None]], None] = lambda step, row: None
    should_stop: Callable[[], bool] = lambda: False
    ends_early: Callable[[int], bool] = lambda step: False


def train(
    model: torch.nn.Module,
    *,
    spec: RunSpec,
    data: Encoded,
    reference: TrainingReference | None,
    execution: Execution,
    accelerator: Accelerator,
    state: Path,
    callbacks: Callbacks,
) -> Progress:
    """Train ``model`` in place as ``spec`` says, on as many ranks as ``accelerator`` has.

    Args:
        model: a causal LM, with adapters where only they are to be trained. Dropout stays off but in adapters.
        data: token ids; for unpaired objectives pairs are taken apart and stay the unit of the batch.
        reference: log-probs of every row that the steps need; None where they need none, or compute them live.
        state: folder of the state for resuming.

    Raises:
        RunError: policy and reference differ at step 0, the reference lacks a row, or the spec is of another version.
    """
    if spec.version != version_of(spec.train):
        raise RunError(
            f"the run is of version {spec.version} of the training; this program's is {version_of(spec.train)}",
            fix="start it with `bench run` of this version",
        )
    run = _prepare(model, spec=spec, data=data, reference=reference, execution=execution, accelerator=accelerator)
    _restore(run, state)
    progress, steps = run.progress, spec.train.steps
    clock = time.monotonic() - progress.seconds
    while progress.steps < steps:
        step = progress.steps
        logged = (step + 1) % execution.log_every == 0 or step + 1 == steps
        rate = _start_step(run, step)
        result = _step(run, step, watch=logged and _watched(step, steps, execution))
        _count(run, result)
        progress.seconds = time.monotonic() - clock
        if not result.finite:
            progress.status = "diverged"
            progress.error = f"step {progress.steps}: loss {result.sums['loss']}, gradient norm {result.grad_norm}"
            return progress
        _move_reference(run)
        if logged:
            _log(progress, {**result.curve_row(), "learning_rate": rate}, callbacks.report)
        if progress.steps < steps and callbacks.ends_early(progress.steps):
            progress.status = "pruned"
            return progress
        _save(run, state, stop=any_rank(accelerator, callbacks.should_stop()))
    return progress


@dataclass(kw_only=True)
class _Run:
    """A training under way. Each step changes the weights, the optimiser, the moving reference and the progress.

    ``moving``: the reference as a model, for schedules that move it and objectives that need its whole vocabulary;
    ``moved``: whether it differs from the start model, for which there is a cache.
    """

    context: TrainContext
    schedule: ReferenceSchedule
    units: Units
    stages: list[Sequence[int]]
    reference: TrainingReference | None
    policy: torch.nn.Module
    optimizer: torch.optim.Optimizer
    moving: CompletionLogProbs | None
    progress: Progress
    moved: bool = False

    @property
    def needs_vocabulary(self) -> bool:
        """Whether the objective needs the reference's whole distribution over the vocabulary."""
        return objective_batch.needs_vocabulary(self.context.objective)


def _prepare(
    model: torch.nn.Module,
    *,
    spec: RunSpec,
    data: Encoded,
    reference: TrainingReference | None,
    execution: Execution,
    accelerator: Accelerator,
) -> _Run:
    """Order the data, and put policy and reference on this rank's device."""
    objective = get(spec.objective)
    schedule = schedule_of(objective, spec)
    context = TrainContext(
        spec=spec, objective=objective, execution=execution, accelerator=accelerator, pad_id=data.pad_id
    )
    units = batch_units(data, objective)
    stages = stage_order(data, schedule, None if reference is None else reference.mean)
    scored = CompletionLogProbs(
        model,
        packed=execution.layout == "packed",
        checkpointing=execution.gradient_checkpointing,
        longest=_longest(data, limit=spec.train.max_length),
    )
    if scored.reasons:
        logger.warning("rows are not scored in the fastest way: %s", scored.layout)
    needs_model = objective_batch.needs_vocabulary(objective) or not schedule.is_frozen
    moving = copy.deepcopy(scored) if needs_model else None
    sharing = sharing_of(accelerator, execution)
    policy, optimizer = share(scored, train=spec.train, sharing=sharing, accelerator=accelerator)
    if moving is not None:
        moving = shard(moving, accelerator) if sharing == "fsdp2" else moving.to(accelerator.device)
    progress = Progress(
        world_size=accelerator.num_processes,
        layout=scored.layout,
        sharing=sharing,
        arithmetic=_arithmetic() if accelerator.device.type == "cpu" else {},
    )
    return _Run(
        context=context,
        schedule=schedule,
        units=units,
        stages=stages,
        reference=reference,
        policy=policy,
        optimizer=optimizer,
        moving=moving,
        progress=progress,
    )


def _longest(data: Encoded, *, limit: int) -> int:
    """Return the tokens of the longest row that a step can have: KTO gives a prompt the completion of another."""
    prompts, completions = data.lengths[:, 0], data.lengths[:, 1:].max(axis=1)
    longest = int(prompts.max()) + int(completions.max())
    return max(int((prompts + completions).max()), min(longest, limit))


def _restore(run: _Run, state: Path) -> None:
    """Go on from the newest saved state, if there is one."""
    here, accelerator = run.progress, run.context.accelerator
    if (saved := load_state(state)) is not None:
        _warn_of_other_arithmetic(saved.progress, here)
        run.progress = replace(
            saved.progress,
            world_size=here.world_size,
            layout=here.layout,
            sharing=here.sharing,
            arithmetic=here.arithmetic,
        )
        saved.restore(accelerator.unwrap_model(run.policy), run.optimizer, run.moving)
    check_alike(accelerator, run.progress.steps)
    steps = run.context.spec.train.steps
    run.moved = any(run.schedule.weight_after(done, steps) > 0 for done in range(1, run.progress.steps + 1))


def _arithmetic() -> dict[str, str]:
    """Return what decides the last digits on this CPU, besides the number of ranks."""
    return {
        "products": current_route(),
        "kernels": "torch" if kernels() is None else "C",
        "threads": str(torch.get_num_threads()),
    }


def _warn_of_other_arithmetic(before: Progress, here: Progress) -> None:
    """Say that a run goes on with other last digits than it would have had; with other ranks it is meant to."""
    if (before.world_size, before.sharing) != (here.world_size, here.sharing):
        return
    known = {name: value for name, value in before.arithmetic.items() if here.arithmetic.get(name, value) != value}
    if known:
        changes = ", ".join(f"{name} {value}, now {here.arithmetic[name]}" for name, value in sorted(known.items()))
        logger.warning("the run goes on with other last digits than an uninterrupted one would have: %s", changes)


def _start_step(run: _Run, step: int) -> float:
    """Set the learning rate of ``step`` (0-based) and return it; restart the optimiser where a stage begins."""
    train = run.context.spec.train
    _, first, length = stage_span(run.schedule, step, train.steps)
    if run.schedule.restart and step == first > 0:
        start_afresh(run.optimizer)
    rate = train.learning_rate * lr_factor(step - first, length, train)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _step(run: _Run, step: int, *, watch: bool) -> StepResult:
    """Train ``step`` (0-based) on its global batch."""
    context, spec = run.context, run.context.spec
    drawn = step_rows(run.stages, run.schedule, spec=spec, step=step)
    units = [run.units[row] for row in drawn]
    source = None
    if Requires.REFERENCE in context.objective.requires:
        if run.moving is not None and (run.moved or run.needs_vocabulary):
            source = objective_batch.live_source(run.moving, vocabulary=run.needs_vocabulary)
        elif run.reference is not None:
            source = objective_batch.cached_source(run.reference.at_step(step, drawn, units, spec.train))
    with dropout_of(seed=spec.seed, step=step):
        return optimiser_step(
            run.policy,
            run.optimizer,
            units,
            context=replace(context, objective=context.objective.at(step + 1, spec.train.steps)),
            source=source,
            state=run.progress.objective_state,
            # The first loss is known beforehand only where the policy starts as its own reference.
            check_parity=step == 0 and spec.reference is None,
            watch=watch,
        )


def _count(run: _Run, result: StepResult) -> None:
    """Add a step to the progress. A live reference passes over the same tokens once more."""
    progress, tokens = run.progress, int(result.sums["tokens"])
    progress.steps += 1
    progress.objective_state = result.state or None
    progress.tokens += tokens
    progress.forward_tokens += (tokens + result.extra_tokens) * (2 if run.moved or run.needs_vocabulary else 1)
    progress.clipped_steps += result.grad_norm > run.context.spec.train.clip


def _move_reference(run: _Run) -> None:
    """Move the reference towards the policy where the schedule says so."""
    weight = run.schedule.weight_after(run.progress.steps, run.context.spec.train.steps)
    if run.moving is not None and weight > 0:
        move_reference(run.moving, run.context.accelerator.unwrap_model(run.policy), weight)
        run.moved = True


def _log(
    progress: Progress, values: dict[str, float | None], report: Callable[[int, dict[str, float | None]], None]
) -> None:
    row = {"step": float(progress.steps), **values}
    for name in CURVES:
        progress.curves[name].append(row[name])
    report(progress.steps, {**row, "tokens": float(progress.tokens), "seconds": progress.seconds})


def _save(run: _Run, state: Path, *, stop: bool) -> None:
    """Save the state where one is due or the training is to stop; in the second case raise ``Interrupted``."""
    progress, accelerator, every = run.progress, run.context.accelerator, run.context.execution.checkpoint_every
    due = every > 0 and progress.steps % every == 0 and progress.steps < run.context.spec.train.steps
    if stop or due:
        current = TrainState.of(accelerator.unwrap_model(run.policy), run.optimizer, run.moving, progress)
        if accelerator.is_main_process:
            save_state(state, current)
    if stop:
        # A rank that ends makes torchrun end the others: none may go before the state is on disk.
        accelerator.wait_for_everyone()
        raise Interrupted


def _watched(step: int, steps: int, execution: Execution) -> bool:
    """Return whether a logged step (0-based) measures the policy's confidence: the first, the last, some between."""
    every, log = execution.watch_every, execution.log_every
    if every == 0:
        return False
    # The first logged step in each span of ``every`` steps.
    return step + 1 == steps or step // every > (step - log) // every


def lr_factor(step: int, steps: int, train: TrainSpec) -> float:
    """Return the share of the peak learning rate at ``step`` (0-based): linear warm-up, then the schedule."""
    warm = round(train.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    left = (steps - step) / max(1, steps - warm)
    return {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}[train.lr_schedule]

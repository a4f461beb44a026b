"""Owns every call of our own training: the step as ``bench.train`` takes it, the reference, a sweep over β.

What changes inside ``bench`` is followed here and nowhere else in this package. TRL is not imported.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from bench.core.specs import DataSpec, Execution, ModelSpec, RunSpec, TrainSpec
from bench.data.collate import mismatched
from bench.data.tokens import EncodedPair, Ids, encoded_of, singles_in
from bench.models.loading import load_model, model_hash
from bench.models.logprobs import CompletionLogProbs
from bench.models.matmul import current_route, take_route
from bench.models.reference_cache import open_reference, read_references
from bench.train import objective_batch
from bench.train.distributed.parallelize import share
from bench.train.micro_batch import TrainContext
from bench.train.sampler import Unit, batch_units
from bench.train.step import optimiser_step
from losses import Requires, get
from tests.benchmarks.material import BATCH, EOS, PAD, batches_of
from tests.benchmarks.objectives import Precision, Run

REFERENCE_BATCH = 64
"""Rows per pass of the reference, as in ``bench.runner.reference``."""


@dataclass(kw_only=True)
class Ours:
    """Our side, ready for its first step; ``reference_seconds``: what the reference's log-probs cost, once."""

    policy: torch.nn.Module
    optimizer: torch.optim.Optimizer
    context: TrainContext
    source: objective_batch.ReferenceSource | None
    batches: list[list[Unit]]
    route: str
    reference_seconds: float
    done: int = 0

    def step(self) -> float:
        """Take the next step; return the mean loss of its batch."""
        with _own_route(self.route):
            result = optimiser_step(
                self.policy,
                self.optimizer,
                self.batches[self.done],
                context=self.context,
                source=self.source,
                state=None,
                check_parity=self.done == 0,
            )
        self.done += 1
        return result.sums["loss"] / result.examples


def prepare(run: Run, *, precision: Precision, cache: Path) -> Ours:
    """Load the model and get everything ready for the first step, the reference's log-probs with it.

    Args:
        cache: where the log-probs lie; what is there already is read.
    """
    # What another Accelerator of this process was told (bf16) would be taken over by ours, and wrap our model.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    spec = spec_of(run, precision=precision)
    objective = get(run.objective)
    data = encoded_of(run.pairs, kind="pairs", eos_id=EOS, pad_id=PAD)
    units = batch_units(data, objective)
    batches = [list(batch) for batch in batches_of(units)]
    before = current_route()
    route = take_route()
    source, seconds = None, 0.0
    if Requires.REFERENCE in objective.requires:
        rows = list(objective_batch.rows_of(run.pairs))
        if Requires.KL_BASELINE in objective.requires:
            rows += [row for batch in batches for row in _baseline_rows(batch, run.max_length)]
        source, seconds = _reference(run.model, rows, precision=precision, cache=cache, device=accelerator.device)
    policy, optimizer = share(
        CompletionLogProbs(load_model(run.model), packed=True),
        train=spec.train,
        sharing="alone",
        accelerator=accelerator,
    )
    torch.backends.mkldnn.matmul.fp32_precision = before
    return Ours(
        policy=policy,
        optimizer=optimizer,
        context=TrainContext(
            spec=spec, objective=objective, execution=Execution(), accelerator=accelerator, pad_id=data.pad_id
        ),
        source=source,
        batches=batches,
        route=route,
        reference_seconds=seconds,
    )


def baseline_completions(batch: Sequence[EncodedPair], *, max_length: int) -> list[Ids]:
    """The completion that KTO's KL estimate meets each row's prompt with: chosen and rejected rows in turn."""
    data = encoded_of(batch, kind="pairs", eos_id=EOS, pad_id=PAD)
    return [completion for _, completion in _baseline_rows(batch_units(data, get("kto")), max_length)]


def spec_of(run: Run, *, precision: Precision, batch: int = BATCH, seed: int = 0) -> RunSpec:
    """One epoch as our specification: a constant learning rate without warm-up, all else the defaults."""
    train = TrainSpec(
        steps=-(-len(run.pairs) // batch), batch=batch, learning_rate=run.learning_rate, lr_schedule="constant",
        warmup=0.0, precision=precision, max_length=run.max_length,
    )  # fmt: skip
    content = model_hash(run.model)
    return RunSpec(
        version=1, suite="benchmark", suite_version=1,
        data=DataSpec(kind="pairs", source="random", content="random", rows=len(run.pairs)),
        model=ModelSpec(source="random", content=content),
        objective=run.objective, objective_version=1, objective_content=None,
        params=get(run.objective).resolve(run.params), train=train, seed=seed,
    )  # fmt: skip


def _baseline_rows(batch: Sequence[Unit], max_length: int) -> list[tuple[Ids, Ids]]:
    singles = singles_in(row for unit in batch for row in unit)
    return objective_batch.single_rows(mismatched(singles, max_length=max_length))


def _reference(
    model: Path, rows: list[Any], *, precision: Precision, cache: Path, device: torch.device
) -> tuple[objective_batch.ReferenceSource, float]:
    entry = open_reference(
        rows,
        model_content=model_hash(model),
        precision=precision,
        folder=cache / precision,
        load=lambda: CompletionLogProbs(load_model(model).to(device), packed=True),
        pad_id=PAD,
        batch=REFERENCE_BATCH,
        note=lambda text: None,
    )
    about = json.loads((entry / "about.json").read_text(encoding="utf-8"))
    return objective_batch.cached_source(read_references([entry])), float(about["seconds"])


@contextmanager
def _own_route(route: str) -> Iterator[None]:
    """float32 products take our route, and afterwards again the one that they took before."""
    before = current_route()
    torch.backends.mkldnn.matmul.fp32_precision = route
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before

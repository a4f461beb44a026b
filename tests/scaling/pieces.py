"""Owns what is measured of what a large job needs: bytes of training state, activations and caches, storage traffic."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.core.artifacts import finished
from bench.train.micro_batch import chunked_loss
from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import run_trials
from tests.benchmarks.material import BATCH, draw_pairs, write_start
from tests.benchmarks.objectives import Precision, Run, compared
from tests.benchmarks.ours import Ours, prepare
from tests.benchmarks.shapes import Shape
from tests.postgres import Postgres, running_postgres

TRIALS = 400
"""Light trials of the study that storage is measured by."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Measured: bytes by parameter, by token and layer, by completion token, by trial.

    state: weights, gradient and AdamW's moments, by parameter. activations: kept for the backward pass, by token, layer
    and number of the hidden state. cache: the reference's log-probs on disk, by completion token. rows, commits: a
    database's growth and transactions by trial (light ones, without heartbeats).
    """

    state: float
    activations: dict[str, float]
    cache: float
    rows: float
    commits: float


def measure(shape: Shape) -> Pieces:
    """Take every piece on a model of this shape, and on a real PostgreSQL."""
    activations, state, cache = {}, 0.0, 0.0
    for precision in ("fp32", "bf16"):
        with tempfile.TemporaryDirectory() as folder:
            mine = _prepared(shape, Path(folder), precision)
            small, large = (_kept(mine, pairs) for pairs in (2, BATCH))
            slope = (large[0] - small[0]) / (large[1] - small[1])
            activations[precision] = slope / (shape.layers * shape.hidden)
            mine.step()
            if precision == "fp32":
                state = _state(mine)
                cache = _cache(Path(folder) / "reference", mine)
    with running_postgres() as server:
        rows, commits = _by_trial(server)
    return Pieces(state=state, activations=activations, cache=cache, rows=rows, commits=commits)


def _prepared(shape: Shape, folder: Path, precision: Precision) -> Ours:
    run = Run(
        model=write_start(shape, folder / "model"),
        pairs=draw_pairs(2 * BATCH, vocabulary=shape.vocabulary, seed=0),
        objective="dpo",
        params=compared("dpo").params,
        learning_rate=1e-4,
        max_length=shape.context,
    )
    return prepare(run, precision=precision, cache=folder / "reference")


def _kept(mine: Ours, pairs: int) -> tuple[int, int]:
    """Bytes that the forward pass of a micro-batch of ``pairs`` keeps for its backward pass, and its packed tokens."""
    own = {p.untyped_storage().data_ptr() for p in mine.policy.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    units = mine.batches[0][:pairs]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = chunked_loss(mine.policy, units, context=mine.context, source=mine.source, baseline=None, scale=1.0)
    loss.backward()
    tokens = sum(len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for unit in units for p in unit)
    return sum(kept.values()), tokens


def _state(mine: Ours) -> float:
    """Bytes by parameter after a step: weights, moments, and a gradient of the weights' type."""
    weights = [p for p in mine.policy.parameters() if p.requires_grad]
    moments = [x for state in mine.optimizer.state.values() for x in state.values() if x.numel() > 1]
    total = 2 * sum(p.numel() * p.element_size() for p in weights) + sum(x.numel() * x.element_size() for x in moments)
    return total / sum(p.numel() for p in weights)


def _cache(folder: Path, mine: Ours) -> float:
    (entry,) = finished(folder, "*/*")
    tokens = sum(len(p.chosen_ids) + len(p.rejected_ids) for batch in mine.batches for unit in batch for p in unit)
    return (entry / "logps.safetensors").stat().st_size / tokens


def _by_trial(server: Postgres) -> tuple[float, float]:
    """Bytes of tables and indices, and transactions, of a light trial on a real server."""
    from sqlalchemy import create_engine, text

    engine = create_engine(server.url)

    def counted() -> tuple[int, int]:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            size = text("SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables")
            done = text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            return tuple(int(connection.execute(each).scalar_one()) for each in (size, done))

    def work_off(trials: int) -> None:
        points = [{"beta": 0.01 * number} for number in range(1, trials + 1)]
        study = open_study(f"s{trials}", storage=server.url, sampler="grid", seed=0, points=points)
        run_trials(study, points=points, evaluate=lambda params, number: Outcome("completed", 0.0, f"{number}", None))

    work_off(1)  # makes the tables
    before = counted()
    work_off(TRIALS)
    rows, commits = ((after - was) / TRIALS for after, was in zip(counted(), before, strict=True))
    engine.dispose()
    return rows, commits

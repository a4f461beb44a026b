"""Owns the projection: from measured pieces and a job on paper to memory, disk, traffic and time, each by a formula."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.scaling.pieces import Pieces

HEARTBEAT_SECONDS = 5.0
"""Between two heartbeats of a trial (``sweeps.heartbeat.beat_seconds``)."""
LOGITS, FEWEST = 1 << 22, 128
"""Logits that a chunk of the head holds, or so many tokens' (``bench.models.packed.forward``)."""
CHUNK_COPIES = 3
"""Logits in the precision of the products, in float32, and their derivative."""
OPERATIONS = 8
"""By weight and token: two forward, four backward, two for layers that are computed again."""
GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sweep on paper. Assumed and not measured: ``flops``, operations a second that one GPU reaches.

    embedded: parameters of embedding and head. tokens: of a pair, packed (its prompt once). completion: those of both
    completions. rank_pairs: in a rank's micro-batch. ranks: of one training. gpus: of all trainings together.
    """

    name: str
    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    embedded: float
    pairs: int
    tokens: int
    completion: int
    rank_pairs: int
    ranks: int
    gpus: int
    trials: int
    flops: float


def needs_of(job: Job, pieces: Pieces) -> dict[str, str]:
    """What a job needs, by name, as docs/scaling.md explains it."""
    layer = (job.parameters - job.embedded) / job.layers
    held = job.rank_pairs * job.tokens
    kept = pieces.activations["bf16"]
    at_once = job.gpus // job.ranks
    speed = job.flops * job.ranks
    seconds = OPERATIONS * job.parameters * job.pairs * job.tokens / speed
    commits = at_once / HEARTBEAT_SECONDS + pieces.commits * at_once / seconds
    gigabytes = {
        "a rank: its share of weights, gradient and moments": pieces.state * job.parameters / job.ranks,
        "a rank: weights of two layers and a gradient, embedding and head": 4 * (3 * layer + 2 * job.embedded),
        "a rank: activations, all kept": kept * held * job.layers * job.hidden,
        "a rank: the same, with gradient checkpointing": (4 * job.layers + kept) * held * job.hidden,
        "a rank: a chunk of the head": 4.0 * CHUNK_COPIES * max(FEWEST * job.vocabulary, LOGITS),
        "disk: the reference's log-probs, once for all trials": pieces.cache * job.pairs * job.completion,
        "disk: a state for resuming (weights and moments)": 12 * job.parameters,
        "disk: weights of a finished run": 4 * job.parameters,
        "disk: weights of all finished runs": 4 * job.parameters * job.trials,
        "database: the study": pieces.rows * job.trials,
    }
    return {
        "trainings, at once": f"{job.trials:,}, {at_once}",
        "pairs of a rank's micro-batch": str(job.rank_pairs),
        **{name: _size(value) for name, value in gigabytes.items()},
        "database: transactions a second": f"{commits:.1f}",
        "time: one pass of the reference, once for all trials": _time(2 / OPERATIONS * seconds),
        "time: one training, one epoch": _time(seconds),
        "time: all trainings": _time(seconds * job.trials / at_once),
    }


def table(jobs: Sequence[Job], pieces: Pieces) -> str:
    """The needs of jobs as Markdown, a column each."""
    columns = [needs_of(job, pieces) for job in jobs]
    lines = [f"| | {' | '.join(job.name for job in jobs)} |", f"|---|{'---|' * len(jobs)}"]
    lines += [f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]]
    return "\n".join(lines) + "\n"


def pieces_table(pieces: Pieces, *, model: str, sharded: float) -> str:
    """What was measured, as Markdown."""
    rows = (
        ("training state, one process", f"{pieces.state:.1f} bytes by parameter"),
        ("the same, a rank of two under FSDP2", f"{sharded:.1f} bytes by parameter"),
        *(
            (
                f"activations kept for the backward pass, {precision}",
                f"{value:.0f} bytes by token, layer and hidden size",
            )
            for precision, value in pieces.activations.items()
        ),
        ("the reference's log-probs on disk", f"{pieces.cache:.2f} bytes by completion token"),
        ("PostgreSQL, tables and indices", f"{pieces.rows:,.0f} bytes by trial"),
        ("PostgreSQL, transactions", f"{pieces.commits:.1f} by trial, and one each {HEARTBEAT_SECONDS:g} s"),
    )
    lines = [f"| measured ({model}) | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    return "\n".join(lines) + "\n"


def _size(value: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= factor:
            return f"{value / factor:,.3g} {unit}"
    return f"{value / 1e3:,.3g} kB"


def _time(seconds: float) -> str:
    for unit, factor in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:,.3g} {unit}"
    return f"{seconds:,.3g} s"

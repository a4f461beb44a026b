"""Owns the projection: from measured pieces and a described job to memory, disk, traffic and time, each by a formula."""

from dataclasses import dataclass

from tests.scaling.pieces import Pieces

HEARTBEAT_SECONDS = 5.0
"""Between two heartbeats of a trial (``sweeps.lease.beat_seconds``)."""
LOGITS = 1 << 22
"""Logits that a chunk of the head holds, or 128 tokens' (``bench.packed.forward``)."""
FEWEST = 128
CHUNK_COPIES = 3
"""Logits in the precision of the products, in float32, and their derivative."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sweep on paper. Assumed and not measured: ``flops``, what a GPU reaches, operations a second.

    tokens: of a pair, packed (prompt once). completion: those of both completions. rank_pairs: in a rank's micro-batch.
    gpus: of all trainings together; ranks: of one training.
    """

    name: str
    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    pairs: int
    epochs: int
    tokens: int
    completion: int
    rank_pairs: int
    ranks: int
    gpus: int
    trials: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a job needs, in GB, hours, and requests a second."""

    state: float
    layer: float
    activations: float
    recomputed: float
    head: float
    cache: float
    saved: float
    weights: float
    trial_hours: float
    sweep_days: float
    reference_hours: float
    commits: float
    database: float


GIGA = 1e9


def needs_of(job: Job, pieces: Pieces) -> Needs:
    """Apply the formulas of docs/scaling.md."""
    by_layer = (job.parameters - job.vocabulary * job.hidden) / job.layers
    held = job.rank_pairs * job.tokens
    chunk = max(FEWEST * job.vocabulary, LOGITS)
    tokens = job.pairs * job.epochs * job.tokens
    # Two operations a weight forward, four backward.
    seconds = 6 * job.parameters * tokens / (job.flops * job.ranks)
    at_once = job.gpus // job.ranks
    return Needs(
        state=pieces.state * job.parameters / job.ranks / GIGA,
        # Weights and gradient of the layer at work and weights of the next one, and embedding with head: float32.
        layer=4 * (3 * by_layer + 2 * job.vocabulary * job.hidden) / GIGA,
        activations=pieces.activations["bf16"] * held * job.layers * job.hidden / GIGA,
        recomputed=(4 * job.layers + pieces.activations["bf16"]) * held * job.hidden / GIGA,
        head=4 * CHUNK_COPIES * chunk / GIGA,
        cache=pieces.cache * job.pairs * job.completion / GIGA,
        saved=12 * job.parameters / GIGA,
        weights=4 * job.parameters / GIGA,
        trial_hours=seconds / 3600,
        sweep_days=seconds * job.trials / at_once / 86400,
        reference_hours=2 * job.parameters * job.pairs * job.tokens / (job.flops * job.ranks) / 3600,
        commits=at_once / HEARTBEAT_SECONDS + pieces.commits * at_once / seconds,
        database=(pieces.rows * job.trials) / GIGA,
    )


def table(job: Job, needs: Needs) -> str:
    """The needs of one job as Markdown."""
    rows = (
        ("training state of a rank: weights, gradient, moments", f"{needs.state:,.1f} GB"),
        ("layers in transit: two gathered, one gradient, embedding and head", f"{needs.layer:,.1f} GB"),
        (f"activations of {job.rank_pairs} pairs, all kept", f"{needs.activations:,.1f} GB"),
        ("the same, layers computed again in the backward pass", f"{needs.recomputed:,.1f} GB"),
        ("a chunk of the head", f"{needs.head:,.2f} GB"),
        ("the reference's log-probs, once for all trials", f"{needs.cache:,.2f} GB"),
        ("one pass of the reference, once for all trials", f"{needs.reference_hours:,.1f} h"),
        ("state for resuming: weights and two moments, float32", f"{needs.saved:,.0f} GB"),
        ("a finished run's weights, float32", f"{needs.weights:,.0f} GB"),
        ("one training", f"{needs.trial_hours:,.1f} h"),
        (f"{job.trials:,} trainings on {job.gpus:,} GPUs", f"{needs.sweep_days:,.1f} days"),
        ("transactions a second at the database", f"{needs.commits:,.1f}"),
        ("size of the study in the database", f"{needs.database * 1000:,.1f} MB"),
    )
    lines = [f"| {job.name} | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    return "\n".join(lines) + "\n"

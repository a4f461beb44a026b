"""Cost of a recipe's part on paper: work, memory and disk by the formulas of docs/scaling.md."""

from dataclasses import dataclass

from bench.core.specs import SetSpec
from bench.runner.plan import Draft, searches_of
from bench.runner.recipes.recipe import Estimate
from bench.runner.search import Search
from losses import Requires

STATE = 16.0
"""Bytes by trained parameter: float32 weight, gradient and AdamW's two moments."""
WEIGHT = 4.0
KEPT = {"fp32": 85.0, "bf16": 47.0}
"""Bytes of activations by token, layer and hidden size, as measured."""
CACHE = 4.45
"""Bytes of the reference's log-probs by completion token."""
CHUNK_COPIES, CHUNK_TOKENS, CHUNK_LOGITS = 3, 128, 1 << 22
ADAPTED = 20.0
"""Sum of the inputs and outputs of a layer's linear maps, by hidden size: 20 in Llama's 7B, 18 in its smallest kin."""
FORWARD, BACKWARD, INPUTS_ONLY = 2.0, 4.0, 2.0
"""Operations by parameter and token; the backward pass without gradients of weights, as under LoRA."""
SCORED = 3
"""Forward passes over an answer: sampled, then scored by policy and by start model."""
PETA, TERA, GIGA = 1e15, 1e12, 1e9


@dataclass(frozen=True, kw_only=True)
class Row:
    """One objective. Work in PFLOP; ``tokens`` that its trainings send through the policy."""

    objective: str
    points: tuple[dict[str, float], ...]
    runs: int
    steps: int
    tokens: float
    training: float
    evaluation: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of one rank at its peak, bytes."""

    weights: float
    transit: float
    activations: float
    head: float

    @property
    def total(self) -> float:
        """All of it; what CUDA and the allocator keep comes on top."""
        return self.weights + self.transit + self.activations + self.head


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One part on paper: ``shared`` is the work done once for all runs, PFLOP; ``disk`` bytes by what lies there."""

    rows: tuple[Row, ...]
    shared: float
    memory: Memory
    disk: dict[str, float]

    @property
    def work(self) -> float:
        """PFLOP of everything but judges."""
        return self.shared + sum(row.training + row.evaluation for row in self.rows)


def paper_of(draft: Draft, estimate: Estimate) -> Paper:
    """Return what a draft costs. Raises UsageError as ``searches_of``."""
    data = draft.request.data or ()
    sets = tuple(SetSpec(source=path.name, content="", rows=1) for path in data) if len(data) > 1 else ()
    rows = tuple(_row(search, draft, estimate) for search in searches_of(draft, sets=sets))
    pair = estimate.prompt + 2 * estimate.answer
    reads = any(Requires.REFERENCE in objective.requires for objective in draft.objectives)
    reference = FORWARD * estimate.parameters * estimate.pairs * pair / PETA if reads else 0.0
    runs = sum(row.runs for row in rows)
    trained = WEIGHT * (adapter_parameters(draft, estimate) or estimate.parameters)
    return Paper(
        rows=rows,
        shared=reference + 2 * _evaluation(draft, estimate),  # the start model's, on validation and test prompts
        memory=memory_of(draft, estimate),
        disk={
            "reference's log-probs": CACHE * estimate.pairs * 2 * estimate.answer if reads else 0.0,
            "a finished run": trained,
            "all runs": runs * trained,
        },
    )


def hours(work: float, estimate: Estimate) -> float:
    """Return the device hours of so many PFLOP."""
    return work * PETA / (estimate.peak * TERA * estimate.share) / 3600


def adapter_parameters(draft: Draft, estimate: Estimate) -> float:
    """Return roughly how many parameters the LoRA adapters have; 0 where all weights are trained."""
    lora = draft.train.lora
    return 0.0 if lora is None else ADAPTED * estimate.hidden * lora.rank * estimate.layers


def memory_of(draft: Draft, estimate: Estimate) -> Memory:
    """Return what one rank has in memory while it trains."""
    sharded = draft.execution.shard == "fsdp2"
    ranks = draft.execution.processes if sharded else 1
    adapters = adapter_parameters(draft, estimate)
    embedded = estimate.vocabulary * estimate.hidden * (1 if estimate.tied else 2)
    layer = (estimate.parameters - embedded) / estimate.layers
    state = WEIGHT * estimate.parameters + STATE * adapters if adapters else STATE * estimate.parameters
    pairs = min(draft.execution.micro_batch, draft.train.batch // draft.execution.processes)
    tokens = pairs * (estimate.prompt + 2 * estimate.answer)
    kept = KEPT[draft.train.precision]
    by_token = 4 * estimate.layers + kept if draft.execution.gradient_checkpointing else kept * estimate.layers
    return Memory(
        weights=state / ranks,
        transit=4 * (3 * layer + 2 * embedded) if sharded else 0.0,
        activations=by_token * tokens * estimate.hidden,
        head=4.0 * CHUNK_COPIES * max(CHUNK_TOKENS * estimate.vocabulary, CHUNK_LOGITS),
    )


def _row(search: Search, draft: Draft, estimate: Estimate) -> Row:
    runs = len(search.points) * draft.terms.seeds + draft.finals
    steps = runs * draft.train.steps
    tokens = steps * draft.train.batch * (estimate.prompt + 2 * estimate.answer)
    operations = FORWARD + (INPUTS_ONLY if draft.train.lora is not None else BACKWARD)
    if draft.execution.gradient_checkpointing:
        operations += FORWARD
    if Requires.KL_BASELINE in search.objective.requires:
        operations += FORWARD  # the answers of other prompts
    return Row(
        objective=search.objective.name,
        points=tuple({**search.fixed, **point} for point in search.points),
        runs=runs,
        steps=steps,
        tokens=tokens,
        training=operations * estimate.parameters * tokens / PETA,
        evaluation=runs * _evaluation(draft, estimate),
    )


def _evaluation(draft: Draft, estimate: Estimate) -> float:
    """Return the PFLOP of one evaluation: answers that are sampled and scored, and held-out pairs, without judges."""
    evaluation = draft.evaluation
    answers = SCORED * evaluation.prompts * evaluation.samples * (estimate.prompt + evaluation.tokens)
    held_out = evaluation.pairs * (estimate.prompt + 2 * estimate.answer)
    return FORWARD * estimate.parameters * (answers + held_out) / PETA

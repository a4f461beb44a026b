"""Probe of the machine: seconds of each kind of pass, measured on stand-ins of the model in about a second."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from bench.core.samples import Samples
from bench.core.specs import RunSpec
from bench.data.collate import TokenRow
from bench.data.tokens import EncodedPair, EncodedSingle
from bench.models.logprobs import CompletionLogProbs, Laid, ReferenceScores
from bench.models.reference_cache import compute
from bench.runner.estimate.amounts import tokens_of
from bench.runner.estimate.stand_in import StandIn
from bench.train.distributed.parallelize import join_ranks, share
from bench.train.micro_batch import TrainContext
from bench.train.objective_batch import ReferenceSource, live_source, needs_vocabulary, rows_of
from bench.train.sampler import Unit
from bench.train.step import optimiser_step
from losses import Objective, Requires

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from bench.core.specs import Execution

DEEPER = 3
"""Layers of the deeper stand-in: what it takes more than that of one layer is divided by two, and so is its noise."""
GOAL = 0.05
"""Seconds that one measurement takes at most, as far as the machine's rate of products tells beforehand."""
FEWEST_UNITS = 2
DRAWN = 10
"""Tokens that they are continued by."""
DECODED = 64
"""Prompts that are continued at most."""
PYTHON_LOOP = 200_000
"""Turns of the loop whose time is the unit of what Python itself does (``Rates.python``)."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Seconds of one pass over ``tokens``: of its layers, of the vocabulary's part, and of all else."""

    fixed: float
    words: float
    layer: float
    tokens: int

    def at(self, tokens: float, *, layers: int) -> float:
        """Return the seconds of a pass over so many tokens by a model of so many layers."""
        return (self.fixed + self.words + self.layer * layers) * tokens / self.tokens


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was measured.

    ``step``: forward, backward and update of a step, of the plainest objective; ``more``: what others take besides, by
    ``kind_of``, seconds a token. ``forward``: log-probs without a gradient. ``states``: a pass over padded rows.
    ``draw``: one token of each of ``Parts.tokens`` rows. ``check``: the comparison of ways when a model is first
    scored. ``saved``: bytes that a step keeps for its backward pass, by token: of a layer, and of all else.
    ``contention``: how much slower a process is while all workers compute. ``python``: seconds of a loop of
    ``PYTHON_LOOP`` turns. ``threads``: those that it was measured with. ``layered``: whether the model has layers that
    a stand-in can have fewer of; ``like``: whether these have its own widths. ``evaluation``: of the start model and of
    a run, where every completion is enumerated.
    """

    step: Parts
    forward: Parts
    states: Parts
    draw: Parts
    check: Parts
    more: Mapping[str, float] = field(default_factory=dict)
    saved: tuple[float, float]
    contention: float
    python: float
    threads: int
    layout: str
    layered: bool
    like: bool
    evaluation: tuple[float, float] | None
    seconds: float


class Clock:
    """Seconds of this process's work: CPU time on one thread, which no neighbour can stretch, else the time passed."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device = device
        self.read = time.process_time if device.type == "cpu" and threads == 1 else time.perf_counter

    def seconds(self, work: Callable[[], object], *, times: int = 1) -> float:
        """Return the shortest time of some calls."""
        taken = []
        for _ in range(times):
            self._wait()
            started = self.read()
            work()
            self._wait()
            taken.append(self.read() - started)
        return min(taken)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def python_seconds() -> float:
    """Return the CPU seconds of a loop of ``PYTHON_LOOP`` turns, the unit of what is not arithmetic."""

    def loop() -> None:
        total: dict[int, int] = {}
        for turn in range(PYTHON_LOOP):
            total[turn & 255] = total.get(turn & 255, 0) + turn

    return Clock(torch.device("cpu"), 1).seconds(loop, times=2)


def product_rate(clock: Clock) -> float:
    """Return the operations a second of a matrix product of middling size."""
    size = 512 if clock.device.type == "cpu" else 4096
    a = torch.randn(size, size, device=clock.device)
    clock.seconds(lambda: a @ a)
    return 2.0 * size**3 / max(1e-9, clock.seconds(lambda: a @ a, times=3))


def contention(workers: int) -> float:
    """Return how much longer a product takes while as many threads as there are workers compute one each.

    Cores may be halves of one core, and share caches and memory.
    """
    if workers < 2:
        return 1.0
    from concurrent.futures import ThreadPoolExecutor

    a = torch.randn(384, 384)

    def work() -> float:
        started = time.thread_time()  # what other programs take of the cores is not counted
        for _ in range(5):
            a @ a
        return time.thread_time() - started

    work()
    alone = min(work() for _ in range(3))
    with ThreadPoolExecutor(workers) as pool:
        together = min(max(pool.map(lambda _: work(), range(workers))) for _ in range(3))
    return min(2.0, max(1.0, together / alone))


class Probe:
    """Measurements on stand-ins; every method gives ``Parts`` scaled to the model itself, but for its layers."""

    def __init__(self, stand_in: StandIn, *, device: torch.device, execution: "Execution", spec: RunSpec) -> None:
        self.stand_in, self.execution, self.spec = stand_in, execution, spec
        self.clock = Clock(device, torch.get_num_threads())
        self.device = device
        self.rate = product_rate(self.clock)
        depths = [(1, 1.0), (DEEPER, 1.0)] if stand_in.layered else [(1, 1.0)]
        if stand_in.layered and stand_in.more_words > 1:
            depths.append((1, 0.5))
        self.models = [stand_in.build(layers, words).to(device) for layers, words in depths]
        self.accelerator = join_ranks(execution.model_copy(update={"processes": 1}))
        self.check_seconds: list[float] = []
        self.scored: list[CompletionLogProbs] = []

    def open(self, longest: int) -> None:
        """Make the modules that score rows, which compares the ways to do so."""
        for model in self.models:
            started = self.clock.read()
            self.scored.append(
                CompletionLogProbs(
                    model,
                    packed=self.execution.layout == "packed",
                    checkpointing=self.execution.gradient_checkpointing,
                    longest=longest,
                )
            )
            self.check_seconds.append(self.clock.read() - started)

    @property
    def check(self) -> Parts:
        """The comparison of ways itself."""
        return self.parts(self.check_seconds, tokens=1)

    def parts(self, seconds: Sequence[float], *, tokens: int) -> Parts:
        """Take the seconds of all stand-ins apart into those of layers, vocabulary and the rest."""
        one = seconds[0]
        layer = max(0.0, seconds[1] - one) / (DEEPER - 1) if len(seconds) > 1 else 0.0
        words = min(one - layer, max(0.0, 2 * (one - seconds[2]))) if len(seconds) > 2 else 0.0
        return Parts(
            fixed=max(0.0, one - layer - words),
            words=max(0.0, words) * self.stand_in.more_words,
            layer=layer * self.stand_in.wider,
            tokens=tokens,
        )

    def few(self, units: Sequence[Unit], *, operations: float) -> list[Unit]:
        """Return as many units as a measurement has time for; ``operations`` by parameter and token."""
        parameters = sum(each.numel() for each in self.models[-1].parameters())
        most = GOAL * self.rate / (operations * parameters)
        chosen: list[Unit] = []
        tokens = 0
        for unit in units:
            tokens += tokens_of(rows_of(unit))
            if len(chosen) >= FEWEST_UNITS and tokens > most:
                break
            chosen.append(unit)
        return chosen

    def step_seconds(self, place: int, units: Sequence[Unit], objective: Objective, params: dict[str, float]) -> float:
        """Return the seconds of one optimiser step of a stand-in on ``units``."""
        spec = self.spec.model_copy(update={"params": params})
        context = TrainContext(
            spec=spec, objective=objective, execution=self.execution, accelerator=self.accelerator, pad_id=0
        )
        scored = self.scored[place]
        policy, optimizer = share(scored, train=spec.train, sharing="alone", accelerator=self.accelerator)
        source = self._source(scored, objective)

        def work() -> None:
            optimiser_step(policy, optimizer, units, context=context, source=source, state=None, check_parity=False)

        return self.clock.seconds(work, times=self._times(work))

    def _times(self, work: Callable[[], object]) -> int:
        """Call once to warm up; return how often to measure then: more often what is short."""
        seconds = self.clock.seconds(work)
        return 1 if seconds > GOAL / 2 else 2 if seconds > GOAL / 20 else 5

    def _source(self, scored: CompletionLogProbs, objective: Objective) -> "ReferenceSource | None":
        if Requires.REFERENCE not in objective.requires:
            return None
        if needs_vocabulary(objective):
            return live_source(scored, vocabulary=True)

        def zeros(rows: Sequence[TokenRow], laid: Laid) -> ReferenceScores:
            return ReferenceScores(logps=torch.zeros(laid.mask.shape, device=self.device), logits=None, entropy=None)

        return zeros

    def forward_seconds(self, rows: Sequence[TokenRow], *, tokens: int) -> Parts:
        """Measure log-probs without a gradient, as of a reference; ``tokens`` are those that the pass reads."""

        def work(scored: CompletionLogProbs) -> None:
            compute(rows, scored, pad_id=0, precision=self.spec.train.precision, batch=64)

        return self._measured([partial(work, scored) for scored in self.scored], tokens=tokens)

    def states_seconds(self, rows: Sequence[TokenRow]) -> Parts:
        """Measure a pass over padded rows whose states another model's are compared with: of one model."""
        from bench.evaluate.metrics.kl import sequence_kl

        samples = Samples(
            prompts=tuple(prompt for prompt, _ in rows),
            completions=tuple(completion for _, completion in rows),
            ended=(False,) * len(rows),
        )

        def work(model: "PreTrainedModel") -> None:
            sequence_kl(model, model, samples, batch=64)

        both = self._measured([partial(work, model) for model in self.models], tokens=tokens_of(rows))
        return Parts(fixed=both.fixed / 2, words=both.words / 2, layer=both.layer / 2, tokens=both.tokens)

    def draw_seconds(self, prompts: Sequence[Sequence[int]], *, tokens: int) -> Parts:
        """Measure what one more token of all ``prompts`` takes while they are continued: a few and some of them."""
        some, few = self._draw(prompts[:DECODED], tokens=tokens), prompts[: DECODED // 4]
        if len(prompts) <= len(few):
            return self.parts(some, tokens=len(prompts))
        less = self._draw(few, tokens=tokens)
        step = (len(prompts) - len(few)) / (min(DECODED, len(prompts)) - len(few))
        return self.parts([a + max(0.0, b - a) * step for a, b in zip(less, some, strict=True)], tokens=len(prompts))

    def _draw(self, prompts: Sequence[Sequence[int]], *, tokens: int) -> list[float]:
        from bench.evaluate.sampling import sample

        def work(model: "PreTrainedModel", count: int) -> None:
            sample(model, prompts, max_tokens=count, temperature=1.0, seed=0, end_ids=frozenset([0]))

        short, long = 1, min(tokens, DRAWN)
        for model in self.models:
            work(model, 1)
        seconds = [
            (self.clock.seconds(partial(work, model, long)) - self.clock.seconds(partial(work, model, short)))
            / max(1, long - short)
            for model in self.models
        ]
        return [max(0.0, each) for each in seconds]

    def _measured(self, works: Sequence[Callable[[], object]], *, tokens: int) -> Parts:
        seconds = [self.clock.seconds(work, times=self._times(work)) for work in works]
        return self.parts(seconds, tokens=tokens)

    def saved_bytes(self, units: Sequence[Unit], objective: Objective, params: dict[str, float]) -> tuple[float, float]:
        """Return the bytes by token that a step keeps for its backward pass: of a layer, and of all else."""
        if not self.stand_in.layered:
            return 0.0, 0.0
        totals = [self._saved(place, units, objective, params) for place in (0, 1)]
        tokens = tokens_of(rows_of(row for unit in units for row in unit))
        layer = max(0.0, totals[1] - totals[0]) / (DEEPER - 1)
        return layer / tokens, max(0.0, totals[0] - layer) / tokens

    def _saved(self, place: int, units: Sequence[Unit], objective: Objective, params: dict[str, float]) -> float:
        own = {each.untyped_storage().data_ptr() for each in self.scored[place].parameters()}
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            scored = self.scored[place]
            rows = rows_of(row for unit in units for row in unit)
            laid = scored.lay(rows, pad_id=0)
            out = scored(laid)
            del out
        return float(sum(seen.values()))

    def close(self) -> None:
        """Give the stand-ins' memory back."""
        self.models, self.scored = [], []
        gc.collect()


def within(units: Sequence[Unit], vocabulary: int) -> list[Unit]:
    """Return units whose token ids a stand-in of this vocabulary can read."""

    def ids(tokens: Sequence[int]) -> tuple[int, ...]:
        return tuple(token if token < vocabulary else 1 + token % (vocabulary - 1) for token in tokens)

    def row(each: EncodedPair | EncodedSingle) -> EncodedPair | EncodedSingle:
        if isinstance(each, EncodedPair):
            return replace(
                each,
                prompt_ids=ids(each.prompt_ids),
                chosen_ids=ids(each.chosen_ids),
                rejected_ids=ids(each.rejected_ids),
            )
        return replace(each, prompt_ids=ids(each.prompt_ids), completion_ids=ids(each.completion_ids))

    return [tuple(row(each) for each in unit) for unit in units]


def kind_of(objective: Objective) -> str:
    """Return what decides how much more than the plainest objective a step of this one takes."""
    return f"{objective.batch.__name__} {objective.requires.value}"

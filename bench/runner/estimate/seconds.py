"""Seconds of a plan's stages, from its amounts and what the probe measured."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from bench.runner.estimate.amounts import Amounts, extra_forwards, first_spec, tokens_of, work_tokens
from bench.runner.estimate.probe import Probe, Rates, contention, kind_of, python_seconds, within
from bench.runner.estimate.stand_in import stand_in_of
from bench.runner.plan import Plan
from bench.runner.search import Search
from bench.train.objective_batch import rows_of
from bench.train.sampler import Unit, batch_indices, batch_units
from losses import Requires

REQUEST = 0.025
"""Work of lm-eval itself on one request, in loops of the probe (``Rates.python``), as measured on 1,072 requests."""
WIN_RATE = 30.0
"""alpaca-eval's length-controlled rate of one checkpoint, in loops."""
RUN = 3.0
"""Files, study and bookkeeping of one run and its record, in loops."""
STEP = 0.055
"""Bookkeeping of one step (curves, progress), in loops."""
EVALUATION = 2.0
"""Files of one evaluation besides, in loops."""
REPORT = 175.0
"""Tables, figures and page, in loops, with the libraries that they load; so much more for each objective:"""
REPORT_OBJECTIVE = 10.0
LIBRARIES = 60.0
"""What a run loads when it samples (lm-eval, alpaca-eval), in loops."""
ROUNDS = 2
"""Times that steps of all stand-ins are measured in turn: the first ones pay for memory that is new."""
FEW_KINDS = 3
"""Kinds of objectives up to which each is measured on as many rows as the plainest one."""
SHORT_STEP = 0.01
"""Seconds of a step below which every objective's own loss is measured."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Seconds of one evaluation: of the start model, of a run, and of the reference on held-out pairs (once)."""

    start: float
    run: float
    reference: float


class Timing:
    """Seconds by formula."""

    def __init__(self, amounts: Amounts, rates: Rates) -> None:
        self.amounts, self.rates = amounts, rates
        self.plan = amounts.plan
        self.layers = amounts.outline.shape.layers if rates.layered else 0

    def step(self, search: Search) -> float:
        """Return the seconds of one optimiser step of an objective, its share of ranks alone."""
        rates, tokens = self.rates, self.amounts.step_tokens
        own = rates.more.get(search.objective.name, rates.more.get(kind_of(search.objective), 0.0))
        extra = extra_forwards(search.objective, self.plan, search)
        seconds = rates.step.at(tokens, layers=self.layers) + own * tokens
        # The rest of these passes is in what the objective takes besides: it was measured on one layer.
        seconds += extra * rates.forward.layer * max(0, self.layers - 1) * tokens / rates.forward.tokens
        return seconds / self.plan.workspace.execution.processes + STEP * rates.python

    def training(self, search: Search) -> float:
        """Return the seconds of one training."""
        steps = self.plan.workspace.train.steps
        return self.step(search) * steps + self.check + RUN * self.rates.python

    @property
    def check(self) -> float:
        """Return the seconds in which the ways to score rows are compared, once a model."""
        return self.rates.check.at(1, layers=self.layers)

    def forward(self, tokens: float) -> float:
        """Return the seconds of log-probs without a gradient."""
        return self.rates.forward.at(tokens, layers=self.layers)

    def evaluation(self, split: str) -> Evaluation:
        """Return the seconds of evaluations on a split."""
        if self.rates.evaluation is not None:
            start, run = self.rates.evaluation
            more = EVALUATION * self.rates.python
            return Evaluation(start=start + more, run=run + more, reference=0.0)
        amounts, evaluation = self.amounts, self.plan.workspace.evaluation
        prompts, samples = amounts.prompts(split), evaluation.samples
        drawn = self.rates.draw.at(len(prompts), layers=self.layers) * amounts.completion
        states = self.rates.states
        tokens = sum(map(len, prompts)) + amounts.completion * len(prompts)
        layers = states.layer * self.layers * tokens / states.tokens
        heads = 2 * (states.fixed + states.words) * tokens / states.tokens
        pairs = work_tokens(amounts.pairs(split), packed=amounts.packed)
        held_out = self.forward(pairs) + (self.check if pairs else 0.0)
        tasks = self._tasks(split)
        common = samples * (drawn + heads) + held_out + tasks + EVALUATION * self.rates.python
        won = WIN_RATE * self.rates.python if evaluation.judge else 0.0
        judged = self._judges(split)
        return Evaluation(
            start=common + 2 * samples * layers + judged.start,
            run=common + samples * (layers + won) + judged.run,
            reference=self.forward(pairs),
        )

    def _tasks(self, split: str) -> float:
        tasks = self.amounts.tasks
        if tasks is None or tasks.tokens is None or tasks.requests is None:
            return 0.0
        if not self.plan.workspace.evaluator.runs_tasks(split):
            return 0.0
        return self.forward(tasks.tokens) + REQUEST * self.rates.python * tasks.requests

    def _judges(self, split: str) -> Evaluation:
        """Return the seconds of judges that are models here; the start model's reads as the policy does."""
        inputs = self.plan.workspace.judge_inputs
        if inputs is None:
            return Evaluation(start=0.0, run=0.0, reference=0.0)
        chosen = inputs[split].judges if split == "test" else inputs[split].judges[:1]
        run = start = 0.0
        for judge in chosen:
            if judge.cost is not None or judge.window is None:
                continue
            pairs = inputs[split].held_out
            tokens = [judge.window.tokens(pair) for pair in pairs[:8]]
            each = self.forward(sum(tokens) / max(1, len(tokens))) * (2 if judge.ordered else 1)
            run += each * len(self.amounts.prompts(split))
            start += each * len(pairs)
        return Evaluation(start=start, run=run, reference=0.0)


def measure(amounts: Amounts, *, device: torch.device, workers: int) -> Rates:
    """Run the probe for a plan."""
    started = time.perf_counter()
    plan = amounts.plan
    workspace, search = plan.workspace, plainest(plan)
    spec = first_spec(plan, search)
    stand_in = stand_in_of(workspace.model, workspace.train.lora)
    probe = Probe(stand_in, device=device, execution=workspace.execution, spec=spec)
    units = _drawn(plan, search, probe)
    probe.open(amounts.longest)
    few = probe.few(units, operations=6.0)
    params = dict(spec.params)
    rows = rows_of(row for unit in few for row in unit)
    seen, packed = tokens_of(rows), amounts.packed and probe.scored[0].packed
    rounds = [
        [probe.step_seconds(place, few, search.objective, params) for place in range(len(probe.models))]
        for _ in range(ROUNDS)
    ]
    step = probe.parts([min(each) for each in zip(*rounds, strict=True)], tokens=seen)
    distinct = list(dict.fromkeys(rows))
    forward = probe.forward_seconds(distinct, tokens=work_tokens(distinct, packed=packed))
    saved = probe.saved_bytes(few, search.objective, params)
    evaluation = None
    states, draw = forward, forward
    if workspace.evaluator.samples:
        states = probe.states_seconds(distinct[: max(2, len(distinct) // 2)])
        prompts = [[t % stand_in.vocabulary for t in each] for each in amounts.prompts("validation")]
        draw = probe.draw_seconds(prompts, tokens=workspace.evaluation.tokens)
    else:
        evaluation = _enumerated(plan, probe, search)
    more = _more(plan, probe, units, few, plain=search)
    rates = Rates(
        step=step,
        forward=forward,
        states=states,
        draw=draw,
        check=probe.check,
        more=more,
        saved=saved,
        contention=contention(workers),
        python=python_seconds(),
        threads=torch.get_num_threads(),
        layout=probe.scored[0].layout,
        layered=stand_in.layered,
        like=stand_in.wider == 1 and stand_in.more_words == 1,
        evaluation=evaluation,
        seconds=time.perf_counter() - started,
    )
    probe.close()
    return rates


def plainest(plan: Plan) -> Search:
    """Return the search whose step the others are compared with: the one with the fewest needs."""

    def needs(search: Search) -> int:
        heavy = Requires.KL_BASELINE | Requires.VOCAB_KL | Requires.ENTROPY | Requires.WHOLE_BATCH | Requires.COLLISION
        return (search.objective.requires & heavy).value

    return min(plan.searches, key=needs)


def _drawn(plan: Plan, search: Search, probe: Probe) -> list[Unit]:
    """Return the units of a micro-batch, drawn as the first step draws them from the rows that are here.

    Ids are those of the stand-in's vocabulary.
    """
    workspace = plan.workspace
    units = batch_units(workspace.data, search.objective)
    size = min(workspace.execution.micro_batch, workspace.train.batch // workspace.execution.processes)
    drawn = [units[i] for i in batch_indices(rows=len(units), batch=max(1, size), step=0, seed=0)]
    return within(drawn, probe.stand_in.vocabulary) if probe.stand_in.layered else drawn


def _more(
    plan: Plan, probe: Probe, units: Sequence[Unit], few: Sequence[Unit], *, plain: Search
) -> Mapping[str, float]:
    """Return what objectives take besides the plainest, seconds a token: by name where a step is short, else kind."""
    others = {kind_of(search.objective) for search in plan.searches} - {kind_of(plain.objective)}
    more: dict[str, float] = {}
    if not others and len(plan.searches) == 1:
        return more
    base = _step(probe, few, plain, plan)
    by_name = base < SHORT_STEP
    tried = few if by_name or len(others) <= FEW_KINDS else few[: max(2, len(few) // 2)]
    if len(tried) < len(few):
        base = _step(probe, tried, plain, plan)
    tokens = tokens_of(rows_of(row for unit in tried for row in unit))
    for search in plan.searches:
        name = search.objective.name if by_name else kind_of(search.objective)
        if name in more or name in (plain.objective.name, kind_of(plain.objective)):
            continue
        chosen = tried if search.objective.batch is plain.objective.batch else _drawn(plan, search, probe)[: len(tried)]
        if len(few) > 1:
            more[name] = (_step(probe, chosen, search, plan) - base) / tokens
    return more


def _step(probe: Probe, units: Sequence[Unit], search: Search, plan: Plan) -> float:
    return probe.step_seconds(0, units, search.objective, dict(first_spec(plan, search).params))


def _enumerated(plan: Plan, probe: Probe, search: Search) -> tuple[float, float]:
    """Measure one evaluation where every completion is enumerated: of the start model, and of a run."""
    from bench.core.specs import EvaluationSpec
    from bench.evaluate.checkpoint import Yardstick
    from bench.models.reference_cache import compute
    from bench.suites.protocol import TrainedBy

    workspace = plan.workspace
    spec: EvaluationSpec = workspace.evaluation
    model, split = probe.models[0], spec.split
    held_out = workspace.held_out.get(split)
    rows = [] if held_out is None else list(dict.fromkeys(rows_of(held_out.rows[: spec.pairs])))
    yardstick = Yardstick(
        start=model,
        tokenizer=workspace.tokenizer,
        gold=None,
        prompts=workspace.prompts[split],
        held_out=None,
        reference=None,
        baseline=None,
        tasks=None,
        packed=False,
    )
    params = dict(first_spec(plan, search).params)
    by = TrainedBy(
        objective=search.objective.name, params=params, reward=search.objective.reward, frozen_reference=True
    )

    def evaluated() -> None:
        workspace.evaluator.measure(model, yardstick, spec=spec, trained_by=by)
        if rows:
            compute(rows, probe.scored[0], pad_id=workspace.data.pad_id, precision="fp32", batch=64)

    run = probe.clock.seconds(evaluated)
    start = run + probe.clock.seconds(workspace.evaluator.frontiers)
    return start, run

"""The loops of a ``bench iterate``, checked before anything is sampled."""

from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from bench.core.specs import RunSpec
from bench.errors import UsageError
from bench.runner.iterate.judging import GOLD, Judging, judge_named
from bench.runner.iterate.prompts import fitting, prompts_a_round, training_prompts
from bench.runner.iterate.request import IterateRequest
from bench.runner.iterate.round import Loop
from bench.runner.iterate.self_judge import SelfJudging
from bench.runner.iterate.spec import FOLDER, LoopSpec
from bench.runner.plan import Plan, make_plan
from bench.train.drawn_rows import VOCABULARY


def prepared(request: IterateRequest, console: Console, *, note: Callable[[str], None]) -> tuple[list[Loop], Judging]:
    """Return every loop of a request, a loss and a seed each, and the judge of their rounds.

    Raises:
        UsageError: a part of the request that cannot be right.
    """
    return loops_of(request, make_plan(request.run, note=note), console, note=note)


def loops_of(
    request: IterateRequest, plan: Plan, console: Console, *, note: Callable[[str], None]
) -> tuple[list[Loop], Judging]:
    """Return the loops of a plan, and the judge of their rounds. Raises as ``prepared``."""
    workspace = plan.workspace
    _check(request, plan)
    judging = Judging(
        judge_option=request.judge,
        judge=judge_named(request.judge),
        judging=SelfJudging(judgements=request.judgements),
        both_orders=request.both_orders,
        seed=0,
        cache=request.run.results / FOLDER / "verdicts",
        max_cost=request.max_cost,
        left=lambda: 0,
        console=console,
    )
    if request.both_orders and (judging.judge is None or judging.judge.score is not None):
        raise UsageError(f"--both-orders: judge {judging.name} sees one answer at a time", fix="leave it out")
    first = replace(workspace, results=request.run.results / FOLDER / "start")
    tokens = workspace.evaluation.tokens
    every = training_prompts(workspace)
    prompts = fitting(every, tokens=tokens, max_length=workspace.train.max_length)
    if len(prompts) < len(every):
        note(f"{len(every) - len(prompts)} prompts are too long for a completion of {tokens} tokens and are left out")
    count = prompts_a_round(
        len(prompts),
        requested=request.prompts,
        rounds=request.rounds,
        fresh=request.fresh,
        needed=workspace.train.steps * workspace.train.batch,
    )
    loops = []
    for seed in range(request.seeds):
        for search in plan.searches:
            spec = _spec(request, plan, search.spec(workspace, {}, seed=seed), judging, count=count, tokens=tokens)
            loops.append(
                Loop(
                    spec=spec,
                    objective=search.objective,
                    learning_rate=workspace.train.learning_rate,
                    first=first,
                    folder=request.run.results / FOLDER / spec.key,
                    prompts=tuple(prompts),
                    tuning=plan.protocol.model_copy(
                        update={"preset": "iterate", "pairs": None, "seeds": (0,), "final_seeds": (), "trials": 1}
                    ),
                    files=plan.request.loss_files,
                )
            )
    return loops, judging


def _check(request: IterateRequest, plan: Plan) -> None:
    """Refuse a request that cannot be done in rounds."""
    if not plan.workspace.evaluator.samples:
        raise UsageError(
            f"suite {request.run.suite} lists every completion, so none has to be sampled", fix="--suite sentiment"
        )
    if request.judge == GOLD and plan.workspace.evaluator.gold is None:
        raise UsageError(
            f"suite {request.run.suite} has no gold reward", fix="--judge reward:FOLDER, lm:FOLDER or api:…"
        )
    if request.reference == "previous":
        return
    for search in plan.searches:
        objective, params = search.objective, search.spec(plan.workspace, {}, seed=0).params
        if objective.requires & VOCABULARY or not objective.bind(params).schedule.is_frozen:
            raise UsageError(
                f"--reference start: {objective.name} needs a reference in memory beside the policy, and that is a "
                "copy of the policy of the round before",
                fix="--reference previous, or an objective with a frozen reference and cached log-probs",
            )


def _spec(request: IterateRequest, plan: Plan, run: RunSpec, judging: Judging, *, count: int, tokens: int) -> LoopSpec:
    workspace = plan.workspace
    return LoopSpec(
        suite=workspace.suite.name,
        suite_version=workspace.suite.version,
        data=workspace.data_spec.content,
        model=workspace.model_spec,
        objective=run.objective,
        objective_version=run.objective_version,
        objective_content=run.objective_content,
        params=run.params,
        train=run.train,
        seed=run.seed,
        prompts=count,
        fresh=request.fresh,
        samples=request.samples,
        tokens=tokens,
        temperature=request.temperature or workspace.evaluation.temperature,
        judge=judging.identity,
        both_orders=request.both_orders,
        pairs=request.pairs,
        reference=request.reference,
        ends=workspace.evaluation.ends,
    )

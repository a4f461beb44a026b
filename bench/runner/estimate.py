"""The price of a plan before it is paid: runs, steps, tokens, and time measured on one real micro-batch."""

import time

import torch
from rich import box
from rich.table import Table

from bench.data.collate import longest_of
from bench.models.loading import load_model
from bench.models.logprobs import CompletionLogProbs
from bench.runner.plan import Plan
from bench.runner.search import finished_runs, points_text
from bench.train.objective_batch import rows_of, score_rows
from losses import Requires

# Scoring a checkpoint, in training steps' time: what it took on the suite's own model, rounded up.
EVALUATION_STEPS = 25


def plan_table(plan: Plan) -> Table:
    """Return a table of what a command would do: one row an objective, the sum below."""
    workspace = plan.workspace
    tokens = tokens_per_step(plan)
    seconds = seconds_per_step(plan)
    table = Table(
        "objective",
        "settings",
        "runs",
        "done",
        "steps",
        "policy\ntokens",
        "time",
        "device\nh",
        box=box.SIMPLE_HEAD,
        title=f"Plan: suite {workspace.suite.name}, {workspace.data_spec.rows} {workspace.data_spec.kind}, "
        f"model {workspace.model_spec.source}",
        caption=f"time: steps at {seconds:.2g} s, measured here, + {EVALUATION_STEPS} steps' time an evaluation; "
        f"the start model's evaluation and the reference cache come on top{_race_caption(plan, seconds)}",
    )
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True
    total = [0, 0, 0, 0.0, 0.0]
    for search in plan.searches:
        seeds = (*plan.seeds, *plan.further_seeds)
        runs = len(search.points) * len(seeds) + len(plan.final_seeds)
        done, _ = finished_runs(search, workspace, seeds=seeds, final_seeds=())
        steps = (runs - done) * workspace.train.steps
        extra = 1.5 if Requires.KL_BASELINE in search.objective.requires else 1.0
        cost = seconds * extra * steps + seconds * EVALUATION_STEPS * (runs - done)
        table.add_row(
            search.objective.name,
            points_text(search.points),
            str(runs),
            str(done),
            str(steps),
            f"{steps * tokens:,.0f}",
            *_times(plan, cost),
        )
        total = [a + b for a, b in zip(total, (runs, done, steps, steps * tokens, cost), strict=True)]
    table.add_section()
    table.add_row("all", "", str(total[0]), str(total[1]), str(total[2]), f"{total[3]:,.0f}", *_times(plan, total[4]))
    return table


def _race_caption(plan: Plan, seconds: float) -> str:
    """Return what is to say of a race: the rows are the most that it can cost, and its first look comes anyway."""
    if plan.race is None:
        return ""
    arms, first = len(plan.searches), len(plan.sure_seeds)
    each = seconds * (plan.workspace.train.steps + EVALUATION_STEPS)
    looks = ", ".join(map(str, plan.race.looks))
    budget = "" if plan.request.budget is None else f", budget {plan.request.budget}"
    further = len(plan.further_seeds)
    choice = f" and {further} more for each setting that may be the best" if further else ""
    return (
        f"\nrace: all rows are the most, {len(plan.final_seeds)} fresh seeds each{choice}; the first look takes "
        f"{first} of each, {arms * first} trainings, {_clock(arms * first * each)}; looks at {looks} seeds, margin "
        f"{plan.race.margin:g}{budget}"
    )


def tokens_per_step(plan: Plan) -> float:
    """Return the mean number of tokens of an optimiser step that pass the policy, each completion with its prompt."""
    data = plan.workspace.data
    prompts, completions = data.lengths[:, 0], data.lengths[:, 1:]
    tokens = int(prompts.sum()) * completions.shape[1] + int(completions.sum())
    return tokens / len(data.rows) * plan.workspace.train.batch


def seconds_per_step(plan: Plan) -> float:
    """Measure one forward and backward pass of a real micro-batch; return its seconds, scaled to the global batch."""
    workspace = plan.workspace
    units = workspace.data.rows[: min(workspace.execution.micro_batch, workspace.train.batch)]
    rows = rows_of(units)
    policy = CompletionLogProbs(load_model(workspace.model).to(workspace.device), packed=True, longest=longest_of(rows))
    times = []
    for _ in range(3):
        started = time.monotonic()
        scored = score_rows(
            rows,
            policy=policy,
            reference=None,
            requires=Requires.NOTHING,
            pad_id=workspace.data.pad_id,
        )
        scored.completion.policy.sum().backward()
        if workspace.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.monotonic() - started)
    return min(times) * workspace.train.batch / len(units) / workspace.execution.processes


def _times(plan: Plan, seconds: float) -> tuple[str, str]:
    """Return the time of one worker, and hours of all devices: each rank of a training has one."""
    return _clock(seconds), f"{seconds / 3600 * plan.workspace.execution.processes:.3f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"

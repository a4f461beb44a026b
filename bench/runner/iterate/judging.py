"""The labeller of a round: a named judge, or the policy itself, with its cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.evaluate.judges.base import Cost, Judge
from bench.evaluate.judges.factory import judges_of, tell_cost
from bench.runner.iterate.labels import by_comparison, by_score, cost_of_comparing, score_by, write_labels
from bench.runner.iterate.round import Label
from bench.runner.iterate.samples import Sampled
from bench.runner.iterate.self_judge import SelfJudging, self_scores
from bench.runner.iterate.spec import SELF
from bench.runner.workspace import Workspace

GOLD = "gold"


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How completions are labelled.

    ``judge`` is None where the policy is its own. ``max_cost`` is of all rounds that this command still has to label,
    which ``left`` counts.
    """

    judge_option: str
    judge: Judge | None
    judging: SelfJudging
    both_orders: bool
    seed: int
    cache: Path
    max_cost: float | None
    left: Callable[[], int]
    console: Console

    @property
    def name(self) -> str:
        """What the judge is called in tables."""
        return SELF if self.judge is None else self.judge.name

    @property
    def identity(self) -> str:
        """Hash of all that decides its verdicts, but a policy's weights."""
        return self.judging.identity if self.judge is None else self.judge.identity


def judge_named(option: str) -> Judge | None:
    """Return the judge of ``--judge``; None for ``self``. Raises UsageError: one that cannot be made."""
    return None if option == SELF else judges_of([option])[0]


def labeller(judging: Judging, *, round_number: int) -> Label:
    """Return how one round's completions are labelled into a folder."""

    def label(
        policy: Workspace, sampled: Sequence[Sampled], folder: Path, progress: Callable[[int, int], None]
    ) -> None:
        judge = judging.judge
        if judge is None:
            model = policy.start_model.to(policy.device)
            seed = (judging.seed, round_number, 1)
            score = self_scores(model, policy.tokenizer, judging.judging, seed=seed)
            # The judge is another one in each round, and so is the noise of its judgements.
            identity = f"{judging.judging.identity} {policy.model_spec.content} {seed}"
            labels, about = by_score(SELF, identity, score, sampled, cache=judging.cache, progress=progress)
        elif judge.score is not None:
            # The gold reward is made again as fast as its cache would be read.
            cache = None if judging.judge_option == GOLD else judging.cache
            labels, about = by_score(
                judge.name, judge.identity, score_by(judge), sampled, cache=cache, progress=progress
            )
        else:
            _tell_cost(judging, judge, sampled)
            labels, about = by_comparison(
                judge, sampled, both=judging.both_orders, seed=judging.seed, cache=judging.cache, progress=progress
            )
        write_labels(folder, labels, about)

    return label


def _tell_cost(judging: Judging, judge: Judge, sampled: Sequence[Sampled]) -> None:
    """Print what this round's comparisons cost at most, and all that are left, before any is asked for.

    Raises:
        UsageError: more than ``max_cost``, or a price that is not known.
    """
    cost = cost_of_comparing(judge, sampled, both=judging.both_orders, seed=judging.seed, cache=judging.cache)
    if cost is None:
        return
    left = judging.left()
    judging.console.print(f"  a round's comparisons; {left} rounds are left, which cost about as much each")
    tell_cost([(judge, cost)], console=judging.console, max_cost=None)
    try:
        tell_cost([(judge, _times(cost, left))], console=Console(quiet=True), max_cost=judging.max_cost)
    except UsageError as error:
        raise UsageError(error.problem, fix="fewer rounds, prompts or samples, or a higher limit") from error


def _times(cost: Cost, rounds: int) -> Cost:
    return replace(
        cost,
        requests=cost.requests * rounds,
        prompt_tokens=cost.prompt_tokens * rounds,
        completion_tokens=cost.completion_tokens * rounds,
        money=None if cost.money is None else cost.money * rounds,
    )

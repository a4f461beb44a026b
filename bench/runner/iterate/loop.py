"""A loop: its rounds one after another, each from the policy of the one before, with progress."""

from typing import TYPE_CHECKING

from bench.core.specs import RunSpec
from bench.errors import RunError
from bench.runner.hooks import Hooks
from bench.runner.iterate.judging import Judging, labeller
from bench.runner.iterate.prompts import prompts_of_round
from bench.runner.iterate.round import (
    Loop,
    checkpoint_of,
    labels_of,
    pairs_of,
    policy_of,
    sampled_of,
    trained,
    write_loop,
)
from bench.utils.stop_signals import Stop

if TYPE_CHECKING:
    from bench.utils.progress import Progress

SHARES = {"sampl": 15, "label": 25, "train": 60}
"""A round's parts of progress by stage, named by how what goes on begins; evaluation goes with training."""
PARTS = sum(SHARES.values())


def run_loop(loop: Loop, judging: Judging, *, rounds: int, progress: "Progress", stop: Stop) -> None:
    """Bring a loop to its last round, doing only what is missing.

    Raises:
        RunError: a round leaves no pair, or its training diverged. KeyboardInterrupt: the user asked to stop.
    """
    write_loop(loop, judge=judging.name)
    model = loop.first.model
    for number in range(1, rounds + 1):
        reporter = _Reporter(progress, f"{loop.spec.objective} seed {loop.spec.seed} round {number}/{rounds}")
        policy = policy_of(loop, number, model)
        prompts = prompts_of_round(
            loop.prompts,
            round_number=number,
            count=loop.spec.prompts,
            fresh=loop.spec.fresh,
            seed=loop.spec.seed,
        )
        sampled = sampled_of(loop, number, policy, prompts, tell=reporter.tell)
        label = labeller(judging, round_number=number)
        labels = labels_of(loop, number, policy, sampled, label, tell=reporter.tell)
        workspace = pairs_of(loop, number, policy, sampled, labels)
        records = trained(loop, number, workspace, _hooks(reporter, stop, steps=loop.spec.train.steps))
        reporter.tell("trained", 1.0)
        if records[0].status != "completed":
            raise RunError(f"round {number} {records[0].status}: {records[0].error}", fix="a smaller lr or a larger β")
        model = checkpoint_of(workspace, records[0], note=reporter.note)


class _Reporter:
    """Turns what goes on in a round into parts of its progress, each reported once."""

    def __init__(self, progress: "Progress", name: str) -> None:
        self._progress, self._name = progress, name
        self._done = 0

    def note(self, text: str) -> None:
        self._progress.note(f"{self._name}: {text}")

    def tell(self, what: str, share: float) -> None:
        """Report what goes on, and which share of its stage is done."""
        before = 0
        for begins, parts in SHARES.items():
            if what.startswith(begins):
                due = before + round(parts * share)
                break
            before += parts
        else:
            due = self._done
        units, self._done = max(0, due - self._done), max(due, self._done)
        self._progress.advance(units, f"{self._name} · {what}")


def _hooks(reporter: _Reporter, stop: Stop, *, steps: int) -> Hooks:
    def step(spec: RunSpec, number: int, row: dict[str, float | None]) -> None:
        what = "evaluating" if number == steps else f"step {number}/{steps}"
        reporter.tell(f"train: {what} · loss {row['loss']:.4g}", 0.8 * number / steps)

    return Hooks(step=step, note=reporter.note, should_stop=lambda: stop.requested, stop=stop)

"""Owns taking turns: after each step of TRL ours takes the same batch, in one process that does nothing else.

What a step of TRL takes hangs on how its memory came to lie, from one process to the next by a third. So every
comparison has processes of its own, several of them, and what they found is taken together.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import RunError
from tests.benchmarks.material import BATCH, batches_of, draw_pairs
from tests.benchmarks.objectives import Precision, Run, compared
from tests.benchmarks.shapes import shape_of

LEARNING_RATE = 3e-4
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process is given: ``folder`` holds the start model as ``model``, and our reference's log-probs.

    ``our_beta``: another β for our side, to see the comparison fail.
    """

    folder: str
    size: str
    objective: str
    setting: str
    steps: int
    seed: int
    our_beta: float | None = None

    def run(self) -> Run:
        """The training that both sides do."""
        shape = shape_of(self.size)
        return Run(
            model=Path(self.folder) / "model",
            pairs=draw_pairs(BATCH * self.steps, vocabulary=shape.vocabulary, seed=self.seed),
            objective=self.objective,
            params=compared(self.objective).params,
            learning_rate=LEARNING_RATE,
            max_length=shape.context,
        )


def run_turns(job: Job) -> dict[str, Any]:
    """TRL's epoch, and after each of its steps ours in each precision: seconds and losses by side.

    ``reference_seconds``: what the reference's log-probs cost us, once, by precision; 0 where another process had
    left them. Raises RunError where a batch of TRL's is not the one that ours had.
    """
    from tests.benchmarks import ours, theirs
    from tests.benchmarks.machine import now

    run = job.run()
    mine = run if job.our_beta is None else Run(**{**vars(run), "params": {**run.params, "beta": job.our_beta}})
    cache = Path(job.folder) / "reference"
    sides = {precision: ours.prepare(mine, precision=precision, cache=cache) for precision in PRECISIONS}
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    losses: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}

    def after(step: int) -> None:
        for precision, side in sides.items():
            started = now()
            losses[precision].append(side.step())
            seconds[precision].append(now() - started)

    trace = theirs.train(run, mode=job.setting, after_step=after)
    for number, (rows, batch) in enumerate(zip(trace.rows, batches_of(run.pairs), strict=True)):
        if rows != theirs.rows_expected(batch, run):
            raise RunError(f"step {number}: TRL's batch does not hold the token ids that ours has")
    return {
        "seconds": {"trl": trace.seconds, **seconds},
        "losses": {"trl": trace.losses, **losses},
        "reference_seconds": {precision: side.reference_seconds for precision, side in sides.items()},
    }

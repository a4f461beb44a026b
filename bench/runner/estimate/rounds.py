"""Time of training in rounds: completions that are sampled, trainings and evaluations of every loop."""

from collections.abc import Iterator, Sequence

import torch

from bench.runner.estimate.amounts import Amounts
from bench.runner.estimate.forecast import SURE, device_of
from bench.runner.estimate.outline import outline_of
from bench.runner.estimate.seconds import Timing, measure
from bench.runner.estimate.table import clock
from bench.runner.iterate.request import IterateRequest
from bench.runner.iterate.round import Loop
from bench.runner.plan import Plan


def rounds_lines(request: IterateRequest, loops: Sequence[Loop], plan: Plan) -> Iterator[str]:
    """Yield the time of a round and of all, or why it is not known. What judges take besides is not in it."""
    workspace = plan.workspace
    device, unknown = device_of(workspace.execution.device)
    if device is None:
        yield from (f"not known: {line}" for line in unknown)
        return
    amounts = Amounts(outline_of(plan))
    timing = Timing(amounts, measure(amounts, device=device, workers=1))
    spec = loops[0].spec
    batch = amounts.prompts("validation")
    # A token of so many prompts takes what one of the validation prompts takes, in proportion.
    each = timing.rates.draw.at(len(batch), layers=timing.layers) / max(1, len(batch))
    sampling = spec.prompts * spec.samples * each * amounts.completion
    longest = max(timing.training(search) for search in plan.searches)
    evaluations = [timing.evaluation(split) for split in ("validation", "test")]
    measured = sum(one.run for one in evaluations)
    pairs = min(spec.prompts, workspace.train.steps * workspace.train.batch)
    reference = timing.forward(2 * pairs * amounts.packed_row)
    one = sampling + longest + measured + reference
    start = sum(each.start + each.reference for each in evaluations)
    whole = one * len(loops) * request.rounds + start
    yield (
        f"a round takes {clock(one)}: sampling {clock(sampling)}, training {clock(longest)}, evaluation "
        f"{clock(measured)}, reference {clock(reference)}; judging comes on top"
    )
    yield (
        f"all rounds take {clock(whole)}, from {clock(whole * (1 - SURE))} to {clock(whole * (1 + SURE))}, on "
        f"{torch.get_num_threads()} thread(s)"
    )

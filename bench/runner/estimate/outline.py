"""Outline of a plan: the request resolved with a sample of its data and the configuration of its model alone."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.request import RunRequest
from bench.data.row_counts import count_rows, has_own_splits
from bench.models.embedding_rows import embedding_rows
from bench.runner.estimate.stand_in import Shape, shape_of
from bench.runner.plan import Draft, Plan, draft_plan, make_plan
from bench.runner.prepare import UNKNOWN
from bench.runner.resources import parameters_in
from bench.suites.inputs import UserInputs

LEAST_SAMPLE = 512
"""Rows of a file that are read for a plan at least."""
ALIKE = 0.8
"""Share of the parameters that the configuration makes from which on the count of the weights' headers is believed."""
TIMED_ROWS = 256
"""Rows that are encoded once more, to know how long the rest takes."""
ROWS_BY_PROMPT = 12
"""Rows that are read for each held-out prompt: a tenth of a file's prompts validate, a tenth test."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A plan that nobody runs, and what is known of the data besides its sample.

    Fields:
        plan: whose data are the sample, and whose results folder may not be there.
        rows: training rows altogether, as far as the sample tells.
        read: raw rows that were read, of ``raw`` altogether.
        loading: CPU seconds that resolving took, with the rows read; ``row_seconds``: of one more row.
    """

    plan: Plan
    shape: Shape
    rows: int
    raw: int
    read: int
    loading: float
    row_seconds: float

    @property
    def sampled(self) -> bool:
        """Whether some rows were not read."""
        return self.read < self.raw

    @property
    def exact(self) -> bool:
        """Whether model and data are known by content, so that finished runs are known by their keys."""
        return not self.sampled and self.plan.workspace.model_spec.content != UNKNOWN


def make_outline(request: RunRequest, *, scratch: Path, note: Callable[[str], None]) -> Outline:
    """Resolve a request as far as no weights are needed, and no more of its data than a sample.

    Args:
        scratch: a folder for what has to be made, which the caller removes.
        note: gets what a run would report about the data, where all of them are read.

    Raises:
        UsageError: a part of the request that cannot be right.
    """
    started = time.process_time()
    draft = draft_plan(request)
    raw, most = _counted(draft)
    sampled = most is not None
    plan = make_plan(request, scratch=scratch, most=most, note=(lambda text: None) if sampled else note)
    workspace = plan.workspace
    read = raw if most is None else sum(min(most, rows) for rows in raw_rows(draft))
    share = len(workspace.data.rows) / max(1, read)
    rows = len(workspace.data.rows) if not sampled else max(1, round(share * raw))
    outline = outline_of(replace(plan, workspace=replace(workspace, results=request.results)))
    return replace(
        outline,
        rows=rows,
        raw=raw or rows,
        read=read or rows,
        loading=time.process_time() - started,
        row_seconds=_row_seconds(draft, plan) if sampled else 0.0,
    )


def outline_of(plan: Plan) -> Outline:
    """Return the outline of a plan whose data are all here."""
    workspace = plan.workspace
    shape, rows = shape_of(workspace.model, workspace.train.lora), len(workspace.data.rows)
    known = parameters_in(workspace.model)
    if ALIKE * shape.parameters < known < shape.parameters / ALIKE:  # else some of the weights are elsewhere
        shape = replace(shape, parameters=known)
    return Outline(plan=plan, shape=shape, rows=rows, raw=rows, read=rows, loading=0.0, row_seconds=0.0)


def _row_seconds(draft: Draft, plan: Plan) -> float:
    """Return the CPU seconds of reading and encoding one row more, as a few of them take."""
    workspace = plan.workspace
    data, few = (draft.request.data or ())[:1], TIMED_ROWS
    inputs = UserInputs(data=data, options=draft.options, chat_template=draft.request.chat_template, most=few)
    started = time.process_time()
    inputs.read(
        draft.suite,
        workspace.tokenizer,
        max_length=workspace.train.max_length,
        embeddings=embedding_rows(workspace.model),
        note=lambda text: None,
    )
    return (time.process_time() - started) / few


def raw_rows(draft: Draft) -> list[int]:
    """Return the raw rows of each data set of a request; none for a suite's own data."""
    return [count_rows(path, draft.options) for path in draft.request.data or ()]


def _counted(draft: Draft) -> tuple[int, int | None]:
    """Return the raw rows of the user's data, and how many of each set are read; None: all."""
    data = draft.request.data or ()
    if not data:
        return 0, None
    counts = raw_rows(draft)
    held_out = max(draft.evaluation.prompts, draft.evaluation.pairs)
    own = any(has_own_splits(path, draft.options) for path in data)
    most = max(LEAST_SAMPLE, held_out if own else ROWS_BY_PROMPT * held_out)
    return sum(counts), None if max(counts) <= most else most

"""The reference stage: which rows a run needs log-probs of the start model for, and their entries in the cache."""

from collections.abc import Sequence
from pathlib import Path

from bench.core.artifacts import Note
from bench.core.specs import RunSpec
from bench.data.collate import TokenRow, longest_of, mismatched
from bench.data.tokens import singles_in
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import open_reference, read_references
from bench.runner.workspace import Workspace
from bench.train.objective_batch import rows_of, single_rows
from bench.train.sampler import batch_units, schedule_of, stage_order, step_units
from losses import Requires, get

BATCH = 64


def training_entries(workspace: Workspace, spec: RunSpec, *, note: Note) -> tuple[Path, ...]:
    """Return the cache entries that training ``spec`` reads: the data's rows, and for KTO its mismatched rows."""
    objective = get(spec.objective)
    if Requires.REFERENCE not in objective.requires:
        return ()
    base = open_rows(
        workspace, rows_of(workspace.data.rows), precision=spec.train.precision, what="training data", note=note
    )
    if Requires.KL_BASELINE not in objective.requires:
        return (base,)
    # The order of the data is a function of the seed, so the mismatched rows of every step are known beforehand.
    units = batch_units(workspace.data, objective)
    schedule = schedule_of(objective, spec)
    stages = stage_order(workspace.data, schedule, read_references([base]))
    rows: dict[TokenRow, None] = {}
    for step in range(spec.train.steps):
        drawn = step_units(units, stages, schedule, spec=spec, step=step)
        batch = singles_in(single for unit in drawn for single in unit)
        rows |= dict.fromkeys(single_rows(mismatched(batch, max_length=spec.train.max_length)))
    return base, open_rows(workspace, list(rows), precision=spec.train.precision, what="KL baseline", note=note)


def open_rows(workspace: Workspace, rows: Sequence[TokenRow], *, precision: str, what: str, note: Note) -> Path:
    """Return the cache entry that holds ``rows``, computing what is missing."""
    return open_reference(
        rows,
        model_content=workspace.model_spec.content,
        precision=precision,
        folder=workspace.results / "reference",
        load=lambda: CompletionLogProbs(
            workspace.start_model.to(workspace.device),
            packed=workspace.execution.layout == "packed",
            longest=longest_of(rows),
        ),
        pad_id=workspace.data.pad_id,
        batch=BATCH,
        note=lambda text: note(f"reference log-probs of the {what}: {text}"),
    )

"""Keys: the spec of a run in a workspace, and the hash of all that a comparison keeps equal."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from bench.core.record import START
from bench.core.specs import KEY_LENGTH, EvaluationSpec, RunSpec, without_sources
from bench.runner.workspace import Workspace
from bench.train.loop import VERSION, version_of
from losses import Objective
from sweeps.protocol import TuningProtocol


def terms_of(workspace: Workspace) -> str:
    """Return the hash of all that is equal for every objective of a comparison, except how each one is tuned."""
    w = workspace
    fixed = {
        "suite": [w.suite.name, w.suite.version],
        "data": w.data_spec.content,
        "model": w.model_spec.content,
        "train": w.train.model_dump(mode="json", exclude={"learning_rate"}),
        "evaluation": without_sources(w.evaluation.model_dump(mode="json", exclude={"split"})),
    }
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:12]


def evaluation_key(evaluation: EvaluationSpec, tuning: TuningProtocol) -> str:
    """Return the name of an evaluation: a hash of its spec and of the protocol that it counts for."""
    return hashlib.sha256(f"{evaluation.digest()} {tuning.hash}".encode()).hexdigest()[:KEY_LENGTH]


def run_spec(
    workspace: Workspace, objective: Objective, params: Mapping[str, float], *, learning_rate: float, seed: int
) -> RunSpec:
    """Return the run of an objective at one setting and one seed.

    Args:
        params: a checked value for every parameter, as ``Objective.resolve`` returns them.
    """
    return start_spec(workspace).model_copy(
        update={
            "version": version_of(workspace.train),
            "objective": objective.name,
            "objective_version": objective.version,
            "objective_content": _own_content(objective),
            "params": dict(params),
            "train": workspace.train.model_copy(update={"learning_rate": learning_rate}),
            "seed": seed,
        }
    )


def start_spec(workspace: Workspace) -> RunSpec:
    """Return the untrained start model as a run of no steps; its learning rate is the suite's, since it has none."""
    return RunSpec(
        version=VERSION,
        suite=workspace.suite.name,
        suite_version=workspace.suite.version,
        data=workspace.data_spec,
        model=workspace.model_spec,
        objective=START,
        objective_version=0,
        objective_content=None,
        params={},
        train=workspace.train.model_copy(update={"learning_rate": workspace.suite.train.learning_rate}),
        seed=0,
    )


def _own_content(objective: Objective) -> str | None:
    """Return the hash of an objective's own files: an edited one is another objective, whatever version it states."""
    parts = objective.parts or (objective,)
    files = sorted({part.file for part in parts if not part.fn.__module__.startswith("losses.")})
    if not files:
        return None
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()

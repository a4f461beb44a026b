"""Owns how an objective in stages meets data sets in order: each set is a stage, so the sets say how many there are."""

from collections.abc import Mapping, Sequence

from bench.errors import UsageError
from bench.spec import SetSpec
from losses import Objective
from sweeps.search import Axis

STAGES = "stages"


def stage_settings(
    objective: Objective, params: Mapping[str, float], axes: Sequence[Axis], *, sets: Sequence[SetSpec]
) -> dict[str, float]:
    """Return ``params`` with the objective's number of stages, where it has one and the data are several sets.

    Raises:
        UsageError: another number of stages was set, written into an expression, or is to be swept.
    """
    if not sets:
        return dict(params)
    names = [name for name, param in objective.params.items() if param.schedule and name.split("_")[-1] == STAGES]
    found = {**params, **dict.fromkeys(names, float(len(sets)))}
    fix = f"each set is a stage: stages={len(sets)}, or leave it out"
    for name in names:
        if params.get(name, found[name]) != found[name]:
            raise UsageError(f"{name}={params[name]:g}, and --data gives {len(sets)} sets", fix=fix)
        if any(axis.name == name for axis in axes):
            raise UsageError(f"--sweep {name}: --data gives {len(sets)} sets", fix=fix)
    own = {name: value for name, value in found.items() if name in objective.params}
    stages = objective.reference_schedule(own).stages
    if stages not in (1, len(sets)):
        raise UsageError(f"{objective.name} has {stages} stages, and --data gives {len(sets)} sets", fix=fix)
    return found

"""Cost of a run: seconds, tokens, FLOPs, memory, devices and energy of all stages."""

from bench.core.record import START, Cost, Energy
from bench.core.specs import RunSpec
from bench.models.reference_cache import reference_cost
from bench.runner.training_result import TrainingResult
from bench.runner.workspace import Workspace
from bench.train.energy import Meter, energy_of, total_energy
from bench.utils.environment import peak_memory_bytes


def cost_of(
    workspace: Workspace, spec: RunSpec, trained: TrainingResult, *, evaluate_seconds: float, meter: Meter
) -> Cost:
    """Return the cost of a run whose training left ``trained`` and whose evaluation ``meter`` followed."""
    parameters = sum(p.numel() for p in workspace.start_model.parameters())
    extra = trained["forward_tokens"] - trained["tokens"]
    energy = energy_of(meter)
    if spec.objective != START:
        stored = trained.get("energy")
        energy = total_energy([None if stored is None else Energy.model_validate(stored), energy])
    return Cost(
        train_seconds=round(trained["seconds"], 3),
        evaluate_seconds=round(evaluate_seconds, 3),
        reference_seconds=round(reference_cost(workspace.results / "reference", model=workspace.model_spec.content), 3),
        tokens=trained["tokens"],
        forward_tokens=trained["forward_tokens"],
        flops=parameters * (6.0 * trained["tokens"] + 2.0 * extra),
        peak_memory_bytes=peak_memory_bytes(),
        device=str(workspace.device),
        devices=trained.get("world_size"),
        energy=energy,
    )

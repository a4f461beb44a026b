"""Energy of a piece of work: by the machine's own counters, else estimated from a stated power.

A counter is the whole machine's or a whole GPU's. Of the machine's a process gets its share of all CPU time that was
spent meanwhile; of a GPU it gets everything, so workers that share a GPU count it twice.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.record import Energy
from bench.core.specs import Execution

POWERCAP = Path("/sys/class/powercap")
STAT = Path("/proc/stat")
Counters = dict[Path, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Meter:
    """What the counters said when a piece of work began. ``gpu`` is in joules; None: nothing measures it."""

    execution: Execution
    device: Any
    powercap: Path
    wall: float
    own: float
    busy: float | None
    packages: Counters
    gpu: float | None


def start_meter(execution: Execution, device: Any, *, powercap: Path = POWERCAP) -> Meter:
    """Read every counter that there is. ``device``: the torch device that the work is done on."""
    return Meter(
        execution=execution,
        device=device,
        powercap=powercap,
        wall=time.monotonic(),
        own=time.process_time(),
        busy=_busy_seconds(),
        packages=_packages(powercap),
        gpu=_gpu_joules(device),
    )


def energy_of(meter: Meter, *, seconds: float | None = None) -> Energy:
    """Return the energy since the meter was started, of all ranks: those of one job do equal work.

    Args:
        seconds: of the whole piece of work, where only its last part was metered, because it was interrupted before;
            the power of that part is taken for the whole.
    """
    wall = max(time.monotonic() - meter.wall, 1e-9)
    own = time.process_time() - meter.own
    cpu, cpu_measured, how = _cpu_joules(meter, own)
    joules, measured, methods = cpu, cpu_measured, [how]
    if meter.device.type == "cuda":
        gpu, gpu_measured, how = _gpu_share(meter, wall)
        joules, measured = joules + gpu, measured and gpu_measured
        methods.append(how)
    whole = 1.0 if seconds is None else max(1.0, seconds / wall)
    return Energy(
        joules=round(joules * whole * meter.execution.processes, 3),
        source="measured" if measured else "estimated",
        method="; ".join(methods),
    )


def added(one: Energy | None, other: Energy | None) -> Energy | None:
    """Return the energy of two pieces of work; None where one is not known. Estimated, if one of them is."""
    if one is None or other is None:
        return None
    sources = {one.source, other.source}
    return Energy(
        joules=round(one.joules + other.joules, 3),
        source="estimated" if "estimated" in sources else "measured",
        method=one.method if one.method == other.method else f"{one.method} | {other.method}",
    )


def _cpu_joules(meter: Meter, own: float) -> tuple[float, bool, str]:
    now, busy = _packages(meter.powercap), _busy_seconds()
    if meter.packages and now.keys() == meter.packages.keys() and busy is not None and meter.busy is not None:
        used = sum(_since(meter.packages[path], now[path]) for path in now) / 1e6
        share = min(1.0, own / max(busy - meter.busy, own, 1e-9))
        return used * share, True, "CPU: RAPL, by share of CPU time"
    watts = meter.execution.watts_per_core
    return own * watts, False, f"CPU: {watts:g} W a busy core, stated"


def _gpu_share(meter: Meter, wall: float) -> tuple[float, bool, str]:
    now = _gpu_joules(meter.device)
    if now is not None and meter.gpu is not None:
        return max(0.0, now - meter.gpu), True, "GPU: NVML's counter"
    watts = meter.execution.watts_per_gpu
    return wall * watts, False, f"GPU: {watts:g} W, stated"


def _packages(powercap: Path) -> Counters:
    """Return each readable package's counter and range, microjoules. Cores and memory are parts of their package."""
    found: Counters = {}
    try:
        places = sorted(path for path in powercap.glob("*/energy_uj") if path.parent.name.count(":") == 1)
        for path in places:
            whole = path.with_name("max_energy_range_uj").read_text()
            found[path] = (int(path.read_text()), int(whole))
    except (OSError, ValueError):
        # Since 2020 kernels show these counters to root alone (CVE-2020-8694).
        return {}
    return found


def _since(before: tuple[int, int], now: tuple[int, int]) -> int:
    """Return what a counter counted; it starts again from zero at the end of its range."""
    return now[0] - before[0] if now[0] >= before[0] else now[0] + before[1] - before[0]


def _busy_seconds() -> float | None:
    """Return the CPU time that all processes of this machine have used, idle and waiting time left out (proc(5))."""
    try:
        fields = [int(text) for text in STAT.read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    user, nice, system, _, _, interrupts, soft, stolen = (*fields, *[0] * (8 - len(fields)))
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _gpu_joules(device: Any) -> float | None:
    """Return what the GPU's own counter says, joules since its driver was loaded; None without pynvml."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        # By its id, and not by its number: CUDA_VISIBLE_DEVICES renumbers what NVML does not.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000.0
    # A driver without the counter, a package without the driver: each says so by an exception of its own.
    except Exception:
        return None

"""Energy of a piece of work, by the machine's own counters (RAPL, NVML); without them it is unknown.

A counter is the whole machine's or a whole GPU's. Of the machine's a process gets its share of all CPU time that was
spent meanwhile; of a GPU it gets everything, so workers that share a GPU count it twice.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.core.record import Energy

POWERCAP = Path("/sys/class/powercap")
STAT = Path("/proc/stat")
CPU_METHOD = "CPU: RAPL, by share of CPU time"
GPU_METHOD = "GPU: NVML's counter"
NO_CPU_METHOD = "CPU: not measured and not counted"
Counters = dict[Path, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Meter:
    """The counters when work began: CPU seconds, microjoules by package, joules of the GPU; None: unreadable.

    ``own`` is CPU time of this process, ``busy`` of all processes.
    """

    device: torch.device
    powercap: Path
    own: float
    busy: float | None
    packages: Counters
    gpu: float | None


def start_meter(device: torch.device, *, powercap: Path = POWERCAP) -> Meter:
    """Read every counter that there is. ``device``: where the work is done."""
    return Meter(
        device=device,
        powercap=powercap,
        own=time.process_time(),
        busy=_busy_seconds(),
        packages=_packages(powercap),
        gpu=_gpu_joules(device),
    )


def energy_of(meter: Meter) -> Energy | None:
    """Return the energy that this process used since the meter was started; None where no counter measured it.

    For work on a GPU the GPU's counter is what is needed. Most systems show the CPU's counter to root alone; where it
    cannot be read, ``method`` says that the CPU's part is left out.
    """
    cpu = _cpu_joules(meter)
    if meter.device.type == "cpu":
        return None if cpu is None else _measured(cpu, CPU_METHOD)
    now = _gpu_joules(meter.device)
    if now is None or meter.gpu is None:
        return None
    gpu = max(0.0, now - meter.gpu)
    if cpu is None:
        return _measured(gpu, f"{GPU_METHOD}; {NO_CPU_METHOD}")
    return _measured(gpu + cpu, f"{GPU_METHOD}; {CPU_METHOD}")


def total_energy(parts: Iterable[Energy | None]) -> Energy | None:
    """Return the energy of several pieces of work; None if one of them was not measured, for half passes for a whole.

    Older versions stored estimates, a stated power times the time; they count as not measured.
    """
    joules, methods = 0.0, []
    for part in parts:
        if part is None or part.source != "measured":
            return None
        joules += part.joules
        methods.append(part.method)
    return _measured(joules, " | ".join(dict.fromkeys(methods))) if methods else None


def _measured(joules: float, method: str) -> Energy:
    return Energy(joules=round(joules, 3), source="measured", method=method)


def _cpu_joules(meter: Meter) -> float | None:
    now, busy, own = _packages(meter.powercap), _busy_seconds(), time.process_time() - meter.own
    if not meter.packages or now.keys() != meter.packages.keys() or busy is None or meter.busy is None:
        return None
    used = sum(_since(meter.packages[path], now[path]) for path in now) / 1e6
    return used * min(1.0, own / max(busy - meter.busy, own, 1e-9))


def _packages(powercap: Path) -> Counters:
    """Return each readable package's counter and range, microjoules. Cores and memory are parts of their package."""
    counters: Counters = {}
    try:
        paths = sorted(path for path in powercap.glob("*/energy_uj") if path.parent.name.count(":") == 1)
        for path in paths:
            whole = path.with_name("max_energy_range_uj").read_text()
            counters[path] = (int(path.read_text()), int(whole))
    except (OSError, ValueError):
        # Since 2020 kernels show these counters to root alone (CVE-2020-8694).
        return {}
    return counters


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


def _gpu_joules(device: torch.device) -> float | None:
    """Return what the GPU's own counter says, joules since its driver was loaded; None without pynvml."""
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        # By its id, and not by its number: CUDA_VISIBLE_DEVICES renumbers what NVML does not.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000.0
    # A driver without the counter, a package without the driver: each says so by an exception of its own.
    except Exception:
        return None

"""The command that starts ranks, on one node or on several."""

import sys
from collections.abc import Mapping
from pathlib import Path

from bench.errors import RunError

STOP_FILE = "stop"
"""A file in a job's work folder: ranks on any machine that find it save their state and stop."""


def torchrun(processes: int, work: Path, environment: Mapping[str, str]) -> list[str]:
    """The command that trains a job by ``processes`` ranks: on this machine, or over the nodes of a Slurm job.

    Raises:
        RunError: the nodes cannot share the ranks.
    """
    nodes = nodes_of(environment)
    if nodes == 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        return [*command, "-m", "bench.train", str(work)]
    if processes % nodes:
        raise RunError(
            f"{processes} ranks cannot be shared by {nodes} nodes", fix="give --processes a multiple of the nodes"
        )
    first, last = torchrun_over_nodes(processes, nodes)
    number = int(environment["SLURM_JOB_ID"])
    meeting = [f"--rdzv_id={number}", f"--rdzv_endpoint={environment['SLURMD_NODENAME']}:{20000 + number % 20000}"]
    return [*first, *meeting, *last, str(work)]


def nodes_of(environment: Mapping[str, str]) -> int:
    """How many nodes the Slurm job has that this process is in; 1 outside of Slurm."""
    return int(environment.get("SLURM_JOB_NUM_NODES", "1"))


def torchrun_over_nodes(processes: int, nodes: int) -> tuple[list[str], list[str]]:
    """What stands before and after where the nodes meet."""
    each = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    ranks = [f"--nnodes={nodes}", f"--nproc_per_node={processes // nodes}", "--rdzv_backend=c10d"]
    return [*each, sys.executable, "-m", "torch.distributed.run", *ranks], ["-m", "bench.train"]

"""The options of ``bench launch``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, Storage, app


@app.command()
def launch(
    slurm: Annotated[bool, typer.Option("--slurm", help="Scripts for Slurm. Example: --slurm")] = False,
    study: Annotated[
        str | None, typer.Option("--study", help="Study that workers join. Example: --study night")
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option("--job", help="Work folder of one training, for many nodes. Example: --job results/work/3f9c"),
    ] = None,
    out: Out = Path("results"),
    storage: Storage = None,
    array: Annotated[int, typer.Option("--array", min=1, help="Jobs, a worker each. Example: --array 16")] = 4,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Nodes of each job. Example: --nodes 2")] = 1,
    partition: Annotated[str | None, typer.Option("--partition", help="Example: --partition gpu")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Example: --account my-group")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Longest time of a job. Example: --time 04:00:00")] = None,
    cpus: Annotated[int | None, typer.Option("--cpus", min=1, help="Cores of each node. Example: --cpus 8")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="GPUs of each node. Example: --gpus 1")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Of each node. Example: --memory 32G")] = None,
    requeue: Annotated[
        bool, typer.Option("--requeue/--no-requeue", help="Go on after preemption. Example: --no-requeue")
    ] = True,
    setup: Annotated[
        list[str] | None, typer.Option("--setup", help="Shell line to run first. Example: --setup 'module load cuda'")
    ] = None,
    max_trials: Annotated[
        int | None, typer.Option("--max-trials", min=1, help="As of bench worker. Example: --max-trials 10")
    ] = None,
    idle: Annotated[float | None, typer.Option("--idle", min=0, help="As of bench worker. Example: --idle 60")] = None,
    workers: Annotated[
        str | None, typer.Option("--workers", help="Processes of each job, as of bench worker. Example: --workers 1")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit at once, by submitit. Example: --submit")] = False,
    cluster: Annotated[
        str, typer.Option("--cluster", help="With --submit: slurm, or local for this machine. Example: --cluster local")
    ] = "slurm",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Write what starts workers, or one training, on a cluster; docs/workers.md has Kubernetes and ssh too.

    The storage stands in no script: LOSSBENCH_STORAGE holds it where the script is submitted.

    Examples:

        bench launch --slurm --study night --out /shared/results --array 16 --gpus 1 --time 04:00:00

        bench launch --slurm --job results/work/3f9c --nodes 2 --gpus 4
    """
    from bench.core.request import worker_count
    from bench.errors import UsageError
    from bench.runner.cluster.slurm import Resources
    from bench.runner.cluster.submit import launch_training, launch_workers

    if not slurm or (study is None) == (job is None):
        raise UsageError(
            "bench launch needs --slurm, and one of --study and --job",
            fix="bench launch --slurm --study NAME, or bench launch --slurm --job FOLDER",
        )
    if workers is not None:
        worker_count(workers)
    resources = Resources(
        nodes=nodes, partition=partition, account=account, time=time, cpus=cpus, gpus=gpus, memory=memory,
        requeue=requeue,
    )  # fmt: skip
    if job is not None:
        lines = launch_training(job, resources, setup=tuple(setup or ()))
    else:
        options = (("--max-trials", max_trials), ("--idle", idle), ("--workers", workers))
        lines = launch_workers(
            study or "",
            out,
            resources,
            array=array,
            storage=storage,
            setup=tuple(setup or ()),
            options=tuple(text for name, value in options if value is not None for text in (name, str(value))),
            submit=submit,
            cluster=cluster,
        )
    for line in lines:
        typer.echo(line)

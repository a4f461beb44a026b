"""Worker process of the tests: joins a study, logs each evaluation's start and end, prints the results."""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

from optuna.distributions import FloatDistribution

from sweeps.outcome import Outcome
from sweeps.patience import Patience
from sweeps.storage import open_storage
from sweeps.study import open_study
from sweeps.worker import run_trials


def log(path, what, params):
    """Append one line in one write, so that lines of several processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what} {json.dumps(params, sort_keys=True)} {os.getpid()}\n".encode())
    os.close(descriptor)


def main():
    """Read the job as JSON from the command line: see ``JOB`` in ``tests.sweeps.joining``."""
    job = json.loads(sys.argv[1])
    spread = None if job["points"] else {"beta": FloatDistribution(0.01, 10.0, log=True)}
    storage = open_storage(job["storage"], patience=Patience(seconds=job["patience"], opening=20.0))
    study = open_study("s", storage=storage, sampler=job["sampler"], seed=7, points=job["points"], distributions=spread)
    while job["go"] and not Path(job["go"]).exists():
        time.sleep(0.002)

    def evaluate(params, _number):
        log(job["log"], "start", params)
        if job["crash"] is not None and params["beta"] == job["crash"]:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(job["seconds"])
        while params["beta"] == job["hold"] and not Path(job["log"] + ".release").exists():
            time.sleep(0.005)
        log(job["log"], "end", params)
        return Outcome("completed", -params["beta"], f"run-{params['beta']}", None)

    results = run_trials(
        study,
        evaluate=evaluate,
        points=job["points"],
        distributions=spread,
        trials=job["trials"],
        lease_seconds=job["lease"],
    )
    print(json.dumps([dataclasses.asdict(result) for result in results]))


if __name__ == "__main__":
    # A shell that starts a command in the background has it ignore SIGINT, and its children with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()

"""β on its way from the command line to the loss: checked once, and carried by few functions."""

import json
import subprocess
import sys

import pytest

from tests.architecture.hops import ROOT


@pytest.mark.slow
def test_beta_is_checked_once_and_carried_by_thirty_functions():
    done = subprocess.run(
        [sys.executable, "-m", "tests.architecture.hops"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["status"] == 0
    assert seen["loss_calls"] >= 3  # steps were taken, and none of them checked it again
    assert len(seen["checks"]) == 1, seen["checks"]
    assert len(seen["carriers"]) <= 30, seen["carriers"]

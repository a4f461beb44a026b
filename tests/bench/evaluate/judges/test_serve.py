"""A judge behind `transformers serve`: another program's server, with a real model in it."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from bench.evaluate.judges.base import AnswerPair
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from tests.bench.evaluate.judges.models import ANSWERS, chat_model, template_file

PAIRS = [
    AnswerPair(instruction="This movie was", first=first, second=second)
    for first, second in ((" wonderful", " awful"), (" great fun", " a waste of time"), (" dull", " a joy"))
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"transformers serve needs {name}")
    folder = tmp_path_factory.mktemp("served")
    model = chat_model(folder / "model")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "transformers.cli.transformers", "serve", str(model)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/health", process, log=folder / "log")
            yield model, f"{url}/v1"
        finally:
            process.terminate()
            process.wait(20)


def wait_for(url, process, *, log):
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def test_a_model_served_by_transformers_judges_as_it_does_in_this_process(served, tmp_path):
    folder, url = served
    fields = {"template": str(template_file(tmp_path)), "answers": ANSWERS, "max_tokens": 1}
    there = judge_of(
        JudgeSpec.model_validate({"kind": "api", "model": str(folder), "url": url, "concurrency": 1, **fields})
    )
    here = dict(judge_of(JudgeSpec.model_validate({"kind": "lm", "folder": folder, **fields})).compare(PAIRS))
    # it gives no probabilities: its likeliest word is read, and another word than the two is no verdict
    for number, verdict in there.compare(PAIRS):
        assert verdict.prompt_tokens == here[number].prompt_tokens
        if verdict.outcome == "judged":
            assert verdict.first_better == float(here[number].first_better > 0.5)
        else:
            assert verdict.outcome == "malformed"
            assert here[number].mass < 0.5
    # asked for its first word among all, this model says «good»
    ((_, first),) = there.compare(PAIRS[:1])
    assert (first.outcome, first.text) == ("judged", " good")

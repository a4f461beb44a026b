"""The check of tasks before any work."""

import socket
import threading
import time

import pytest
from lm_eval.tasks import TaskManager

from bench.core.assets import SUITES
from bench.errors import UsageError
from bench.evaluate.tasks import documents as task_data
from bench.evaluate.tasks import preflight as module
from bench.evaluate.tasks.preflight import Reader, preflight, refuse
from bench.evaluate.tasks.search import _listed
from bench.utils import isolation
from bench.utils.isolation import hub_answers
from tests.bench.evaluate.tasks.documents import write_documents

TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{[good, bad]}}"
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No network, and whoever tries one fails."""

    def refuse(*address):
        raise AssertionError(f"a connection was tried: {address}")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("LOSSBENCH_EVAL_DATA", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    hub_answers.cache_clear()
    yield
    hub_answers.cache_clear()


def problems(*tasks, include=None, data=None, reader=None):
    return {(each.task, each.problem) for each in preflight(tasks, include=include, data=data, reader=reader)}


def test_a_task_in_plain_files_is_seen_without_lm_eval(monkeypatch):
    monkeypatch.setattr(module, "find_tasks", None)
    assert problems("blimp", include=SUITES / "sentiment") == set()


def test_tasks_on_files_have_no_problem(tmp_path):
    data = write_documents(tmp_path)
    assert problems("hellaswag_local", "blimp_local", "gsm8k_local", "arc_*_local", data=data) == set()


def test_each_problem_is_named():
    by_task = problems(
        "hellasag", "mmlu", "humaneval", "mmmu_val", "gsm8k", "piqa_local", reader=Reader(context=256, kind="llama")
    )
    assert by_task == {
        ("hellasag", "unknown"),
        ("mmlu", "network"),
        *{("humaneval", kind) for kind in ("unsafe code", "network", "model")},
        *{("mmmu_val", kind) for kind in ("network", "model")},
        *{("gsm8k", kind) for kind in ("network", "model")},
        ("piqa_local", "data"),
    }


def test_an_unknown_name_gets_close_ones():
    with pytest.raises(UsageError, match=r"'hellasag' is unknown\n.*did you mean .*'hellaswag'"):
        refuse(preflight(["hellasag"], include=None))


def test_of_a_group_the_number_of_tasks_is_reported():
    (finding,) = preflight(["mmlu"], include=None)
    assert finding.text.startswith("task mmlu (57 of its 57 tasks) needs a network: its data (cais/mmlu)")
    assert finding.stops


def test_a_task_that_generates_fits_a_model_of_more_context():
    assert ("gsm8k", "model") not in problems("gsm8k", reader=Reader(context=257))
    assert ("gsm8k", "model") not in problems("gsm8k")


def test_a_table_of_logits_can_do_none(tmp_path):
    assert problems("blimp_local", data=write_documents(tmp_path), reader=Reader(kind="lossbench_table")) == {
        ("blimp_local", "model")
    }


def test_absent_data_files_are_named(tmp_path):
    (tmp_path / "mine.yaml").write_text(TASK)
    (finding,) = preflight(["mine"], include=tmp_path)
    assert (finding.problem, finding.text) == ("data", "task mine reads items.jsonl, which does not exist")


def test_code_that_asks_for_trust_is_reported_and_stops_nothing(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"good": "a", "bad": "b"}\n')
    (tmp_path / "mine.yaml").write_text(
        TASK.replace("data_files: {test: items.jsonl}", "data_files: {test: items.jsonl}, trust_remote_code: true")
        + "process_docs: !function code.process\n"
    )
    (tmp_path / "code.py").write_text("def process(documents):\n    return documents\n")
    (finding,) = preflight(["mine"], include=tmp_path, trust=True)
    assert (finding.problem, finding.stops) == ("remote code", False)
    refuse([finding])


def test_a_package_that_a_tasks_functions_need_is_named(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"good": "a", "bad": "b"}\n')
    (tmp_path / "mine.yaml").write_text(TASK + "process_docs: !function code_of_mine.process\n")
    (tmp_path / "code_of_mine.py").write_text("import no_such_package_at_all\ndef process(d):\n    return d\n")
    (finding,) = preflight(["mine"], include=tmp_path, trust=True)
    assert finding.problem == "package"
    assert "no_such_package_at_all" in finding.text


def test_a_hub_that_hangs_is_awaited_until_the_timeout_only(monkeypatch):
    hung = threading.Event()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(isolation, "REACH_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **settings: hung.wait(60))
    started = time.monotonic()
    assert not hub_answers()
    assert time.monotonic() - started < 5
    hung.set()


def test_a_pattern_means_the_packages_own_tasks_only_where_it_says_so():
    assert {name for name, _ in problems("winogra*")} & {"winogrande", "winogrande_local"} == {"winogrande"}
    assert problems("winogra*_local") == {("winogra*_local", "data")}


def test_where_the_hub_answers_a_download_is_reported_and_stops_nothing(monkeypatch):
    monkeypatch.setattr(task_data, "hub_answers", lambda: True)
    (finding,) = preflight(["hellaswag"], include=None)
    assert (finding.problem, finding.stops) == ("download", False)


@pytest.mark.slow
def test_the_names_read_from_files_are_those_of_lm_evals_index():
    defined, tags = _listed()
    index = TaskManager().task_index
    assert {name for name, entry in index.items() if entry.kind.name != "TAG"} <= defined.keys()
    assert {name for name, entry in index.items() if entry.kind.name == "TAG"} <= tags

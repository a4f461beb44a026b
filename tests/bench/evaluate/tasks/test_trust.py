"""Task files of a user: no way from one to code, and a way for those who trust it."""

import json

import pytest

from bench.errors import BenchError
from bench.evaluate.tasks.load import ready_tasks
from bench.evaluate.tasks.local_tasks import lm_eval_tasks
from bench.evaluate.tasks.preflight import preflight
from bench.evaluate.tasks.trust import code_in

TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{good}}"
doc_to_target: 0
doc_to_choice: "{{[good, bad]}}"
"""
CODE = """\
from pathlib import Path
Path(__file__).with_name("ran").write_text("ran")
def text(document):
    return document["good"]
def documents(rows):
    return rows
class Task:
    pass
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "items.jsonl").write_text(json.dumps({"good": "a", "bad": "b"}) + "\n")
    (tmp_path / "evil.py").write_text(CODE)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(CODE)
    return tmp_path


def changed(key, value):
    lines = [line for line in TASK.splitlines() if not line.startswith(f"{key}:")]
    return "\n".join([*lines, f"{key}: {value}"]) + "\n"


FUNCTIONS = {
    "a text": changed("doc_to_text", "!function evil.text"),
    "documents": changed("process_docs", "!function evil.documents"),
    "a class": "task: mine\nclass: !function evil.Task\n",
    "a metric": changed("metric_list", "[{metric: !function evil.text, aggregation: mean, higher_is_better: true}]"),
    "an aggregation": changed(
        "metric_list", "[{metric: acc, aggregation: !function evil.text, higher_is_better: true}]"
    ),
    "a filter": changed("filter_list", "[{name: f, filter: [{function: custom, filter_fn: !function evil.text}]}]"),
    "few-shot samples": changed("fewshot_config", "{sampler: first_n, samples: !function evil.documents}"),
    "a tag under another name": "%TAG !e! !func\n---\n" + changed("doc_to_text", "!e!tion evil.text"),
    "a whole tag": changed("doc_to_text", "!<!function> evil.text"),
    "an anchor": changed("doc_to_text", "&x !function evil.text") + "description: *x\n",
    "an installed module": changed("doc_to_text", "!function os.system"),
    "a merged mapping": "x: &m {doc_to_text: !function evil.text}\n"
    + TASK.replace('doc_to_text: "{{good}}"\n', "")
    + "<<: *m\n",
}
OTHERS = {
    "a script of a metric": changed("metric_list", "[{metric: ./evil, aggregation: mean, higher_is_better: true}]"),
    "a metric of the library evaluate": changed(
        "metric_list", "[{metric: acc, hf_evaluate: true, aggregation: mean, higher_is_better: true}]"
    ),
    "a pickle": changed("dataset_path", "pandas"),
}
TEMPLATES = {
    "globals": "{{ cycler.__init__.__globals__.os.mkdir('ran') }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__().x }}",
    "a format": "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "a length": "{{ 'x' * 10**10 }}",
    "nested loops": "{% for a in range(99999) %}{{ range(99999)|list|join('x' * 99999) }}{% endfor %}",
    "a pattern": "{{ ('a' * 64 + 'b')|regex_replace('(a|aa)+$', '') }}",
}


def refused(folder, *, name="mine"):
    with pytest.raises(BenchError) as failure:
        ready_tasks([name], include=folder)
    assert not list(folder.rglob("ran"))
    return failure.value


@pytest.mark.parametrize("content", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_is_not_imported(folder, content):
    (folder / "mine.yaml").write_text(content)
    stopping = [each for each in preflight(["mine"], include=folder) if each.stops]
    assert stopping == [] or "--trust-tasks" in stopping[0].fix
    failure = refused(folder)
    assert "runs code" in failure.problem
    assert "--trust-tasks" in (failure.fix or "")


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_what_else_leads_to_code_is_refused(folder, content, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "mine.yaml").write_text(content)
    assert "runs code" in refused(folder).problem


@pytest.mark.parametrize("text", TEMPLATES.values(), ids=TEMPLATES)
def test_a_text_is_rendered_in_a_sandbox_that_ends(folder, text, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bench.evaluate.tasks.trust.REGEX_SECONDS", 0.2)
    (folder / "mine.yaml").write_text(changed("doc_to_text", json.dumps(text)))
    refused(folder)


def test_code_in_a_file_that_is_included_or_in_a_group_is_not_run(folder):
    (folder / "base").mkdir()
    (folder / "base" / "evil.py").write_text(CODE)
    (folder / "base" / "common").write_text(changed("doc_to_text", "!function evil.text"))
    (folder / "mine.yaml").write_text("include: base/common\ntask: mine\n")
    assert "base/common" in refused(folder).problem
    task = changed("doc_to_text", "!function evil.text").replace("task: mine", "task: inner")
    (folder / "group.yaml").write_text("group: ours\ntask:\n  - " + task.replace("\n", "\n    ").rstrip() + "\n")
    assert "group.yaml" in refused(folder, name="ours").problem


def test_a_file_that_leads_back_to_itself_is_read_once(folder):
    (folder / "mine.yaml").write_text(changed("metadata", "&again {versions: [*again], version: 1}"))
    assert list(code_in(folder / "mine.yaml")) == []


def test_a_task_file_by_its_path_is_no_way_around(folder):
    (folder / "mine.yaml").write_text(FUNCTIONS["a text"])
    with pytest.raises(BenchError, match="runs code"):
        ready_tasks([str(folder / "mine.yaml")], include=None)
    assert not list(folder.rglob("ran"))


def test_what_is_trusted_runs(folder):
    (folder / "mine.yaml").write_text(FUNCTIONS["a text"] + "process_docs: !function evil.documents\n")
    ready = ready_tasks(["mine"], include=folder, trust=True)
    (task,) = ready.loaded["tasks"].values()
    assert task.instances[0].args[0] == "a"
    assert (folder / "ran").exists()


def test_tasks_of_lm_eval_and_what_includes_them_need_no_trust(folder):
    home = lm_eval_tasks() / "hellaswag" / "hellaswag.yaml"
    (folder / "mine.yaml").write_text(f"include: {home}\ntask: mine\n")
    assert list(code_in(home)) == list(code_in(folder / "mine.yaml")) == []
    assert not [each for each in preflight(["mine"], include=folder) if each.problem == "unsafe code"]


def test_another_task_with_code_in_the_folder_stops_nothing(folder):
    (folder / "mine.yaml").write_text(TASK)
    (folder / "other.yaml").write_text(FUNCTIONS["a text"].replace("task: mine", "task: other"))
    assert ready_tasks(["mine"], include=folder).names == ("mine",)
    assert not (folder / "ran").exists()

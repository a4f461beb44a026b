"""Outcomes by document and their clusters, from real lm-eval on a model in memory."""

import json
from dataclasses import replace

import pytest

from bench.core.record import Metric
from bench.core.task_outcomes import TaskOutcomes
from bench.evaluate.tasks.clusters import cluster_labels
from bench.evaluate.tasks.load import ready_tasks
from bench.evaluate.tasks.outcomes import outcomes_of, uncompared
from bench.evaluate.tasks.run import TasksOutcome, run_lm_eval
from bench.models.loading import load_model, load_tokenizer
from tests.bench.evaluate.tasks.documents import SENTIMENT, write_documents
from tests.bench.evaluate.tasks.test_run import TASK


def labels(documents, *, tasks=None, field=None):
    shared, each = cluster_labels(documents, tasks or ["t"] * len(documents), field=field)
    return shared, [each.index(label) for label in each]


def test_documents_of_one_passage_are_a_cluster_however_few_passages_there_are():
    passages = ["One text.", "Another text.", "One text.", "A third."]
    documents = [{"passage": text, "question": f"q{at}", "answer": True} for at, text in enumerate(passages)]
    assert labels(documents) == ("passage", [0, 1, 0, 3])


def test_the_field_with_the_fewest_clusters_counts():
    documents = [{"activity_label": f"a{at // 8}", "source_id": f"s{at // 2}"} for at in range(96)]
    assert cluster_labels(documents, ["t"] * 96, field=None)[0] == "activity_label"
    few = documents[:40]  # five activities are too few to be clusters; the videos are still shared
    assert cluster_labels(few, ["t"] * 40, field=None)[0] == "source_id"


def test_a_long_text_that_documents_share_is_a_passage_in_whatever_field():
    documents = [{"dialogue_turns": f"A dialogue of some length, number {at // 2}", "n": at} for at in range(24)]
    assert cluster_labels(documents, ["t"] * 24, field=None)[0] == "dialogue_turns"


@pytest.mark.parametrize(
    "documents",
    [
        [{"question": f"Which of these many things is it, {at}?", "answer": at % 4} for at in range(40)],
        [{"hint": "An instruction that all documents have.", "question": str(at)} for at in range(40)],
        [{"passage": "" if at < 30 else f"p{at // 2}", "question": str(at)} for at in range(40)],
        [{"choices": ["a", "b"], "gold": at % 2 == 0} for at in range(40)],
        [{} for _ in range(40)],
    ],
)
def test_documents_that_share_nothing_stand_alone(documents):
    assert cluster_labels(documents, ["t"] * 40, field=None) == ("", [])


def test_a_task_names_its_own_field_or_none():
    documents = [{"passage": "p", "author": f"a{at % 3}"} for at in range(9)]
    assert labels(documents, field="author") == ("author", [0, 1, 2, 0, 1, 2, 0, 1, 2])
    assert cluster_labels(documents, ["t"] * 9, field="") == ("", [])


def test_tasks_of_a_group_are_clusters_from_ten_on_and_never_share_a_passage():
    documents = [{"passage": f"p{at % 6}"} for at in range(60)]
    assert cluster_labels(documents, [f"t{at // 5}" for at in range(60)], field=None)[0] == "task"
    shared, each = cluster_labels(documents, ["a"] * 30 + ["b"] * 30, field=None)
    assert (shared, len(set(each))) == ("passage", 12)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> TasksOutcome:
    data = write_documents(tmp_path_factory.mktemp("data"))
    tasks = ready_tasks(["blimp_local", "hellaswag_local", "gsm8k_short"], include=_gsm8k(tmp_path_factory), data=data)
    return run_lm_eval(load_model(SENTIMENT), load_tokenizer(SENTIMENT), tasks)


def _gsm8k(tmp_path_factory):
    """A task of texts with two filters, one document answered right by every model."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": f"{at} and?", "passage": f"p{at // 2}", "answer": ""} for at in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "short.yaml").write_text(f"""\
task: gsm8k_short
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder / "rows.jsonl"}}}}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 4}}
filter_list:
  - name: strict
    filter: [{{function: take_first}}]
  - name: never
    filter: [{{function: regex, regex_pattern: "XYZ"}}, {{function: take_first}}]
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
""")
    return folder


def test_a_group_is_one_task_with_its_tasks_as_clusters(outcome):
    assert sorted(outcome.outcomes) == ["blimp_local", "gsm8k_short", "hellaswag_local"]
    blimp = outcome.outcomes["blimp_local"]
    assert (blimp.metric, blimp.clustered_by, blimp.clusters) == ("acc", "UID", (8,) * 67)
    assert outcome.uncompared == ()


def test_the_mean_of_the_outcomes_is_the_number_of_lm_eval(outcome):
    numbers = {(m.task, m.name): m.value for m in outcome.metrics}
    for task, each in outcome.outcomes.items():
        assert sum(each.numbers) / len(each.values) == pytest.approx(numbers[task, each.metric]), task
    assert outcome.outcomes["hellaswag_local"].metric == "acc_norm"
    assert outcome.outcomes["gsm8k_short"].metric == "exact_match,strict"
    assert (outcome.outcomes["gsm8k_short"].clustered_by, outcome.outcomes["gsm8k_short"].clusters) == (
        "passage",
        (2, 2, 2),
    )


def test_outcomes_are_those_of_the_documents_file_in_the_order_of_clusters(outcome):
    rows = [row for task in sorted(outcome.documents) if task.startswith("blimp_") for row in outcome.documents[task]]
    assert "".join(f"{row['metrics']['acc']:.0f}" for row in rows) == outcome.outcomes["blimp_local"].values
    strict = [row for row in outcome.documents["gsm8k_short"] if row["filter"] == "strict"]
    assert len({row["cluster"] for row in strict}) == 3
    assert all("cluster" not in row for row in outcome.documents["blimp_adjunct_island_local"])


def test_equal_documents_give_equal_hashes_and_other_ones_another(outcome, tmp_path):
    data = write_documents(tmp_path / "data")
    (tmp_path / "data" / "blimp" / "adjunct_island.jsonl").write_text(
        "".join(
            line.replace("many teachers", "most teachers") + "\n"
            for line in (tmp_path / "data" / "blimp" / "adjunct_island.jsonl").read_text().splitlines()
        )
    )
    tasks = ready_tasks(["blimp_local", "hellaswag_local"], include=None, data=data)
    again = run_lm_eval(load_model(SENTIMENT), load_tokenizer(SENTIMENT), tasks).outcomes
    assert again["hellaswag_local"].documents == outcome.outcomes["hellaswag_local"].documents
    assert again["blimp_local"].documents != outcome.outcomes["blimp_local"].documents


def results_of(values, *, value, higher_is_better=True):
    samples = [
        {"doc_id": at, "doc": {}, "doc_hash": str(at), "filter": "none", "metrics": ["f1"], "f1": one}
        for at, one in enumerate(values)
    ]
    metric = Metric(task="t", split="test", name="f1", value=value, n=len(values), higher_is_better=higher_is_better)
    return {"samples": {"t": samples}, "configs": {"t": {}}, "group_subtasks": {}}, [metric]


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ([0.2, 0.9], {"value": 0.7}),  # aggregated otherwise
        ([2.0, 1.0], {"value": 1.5}),  # no share
        ([0.2, 0.4], {"value": 0.3, "higher_is_better": False}),
        ([(1, 2), (0, 2)], {"value": 0.25}),  # a sum over parts
        ([0.5], {"value": 0.5}),
    ],
)
def test_a_number_that_is_no_mean_over_documents_is_not_compared(values, changes):
    results, metrics = results_of(values, **changes)
    assert outcomes_of(results, metrics) == {}
    assert uncompared(results, {}) == ("t",)


def test_values_between_are_kept_as_numbers():
    results, metrics = results_of([0.25, 1.0], value=0.625)
    (each,) = outcomes_of(results, metrics).values()
    assert (each.values, each.clusters) == ((0.25, 1.0), ())
    assert isinstance(each, TaskOutcomes)
    assert replace(TasksOutcome(), outcomes={"t": each}).outcomes["t"] is each


def test_the_settings_of_a_task_can_name_the_field(tmp_path):
    rows = [{"good": f"a b {at}", "bad": f"b a {at}", "author": "xyz"[at % 3]} for at in range(6)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tiny.yaml").write_text((TASK % "").replace("{version: 2.5}", "{version: 2.5, cluster: author}"))
    tasks = ready_tasks(["tiny_pairs"], include=tmp_path)
    each = run_lm_eval(load_model(SENTIMENT), load_tokenizer(SENTIMENT), tasks).outcomes["tiny_pairs"]
    assert (each.clustered_by, each.clusters) == ("author", (2, 2, 2))

"""The package's tasks on files: lm-eval's own, but for where their documents come from."""

import io
import tarfile
from pathlib import Path

import pytest
import yaml
from lm_eval.tasks._yaml_loader import load_yaml

from bench.errors import UsageError
from bench.evaluate.tasks.local_tasks import OWN, SPLITS, own_definitions, own_names, read_yaml, write_own
from tests.bench.evaluate.tasks.documents import write_documents, write_lines

WHERE = {"task", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "metadata", *SPLITS}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", sorted(own_definitions()))
def test_a_definition_differs_from_lm_evals_own_in_nothing_but_its_documents(name, data, tmp_path):
    written = write_own(name, tmp_path, data=data)
    tasks = [path for path in written if path.stem != "blimp_local"]
    assert len(tasks) == (67 if name == "blimp_local" else 1)
    for path in tasks:
        ours, theirs = (
            load_yaml(each, resolve_func=False) for each in (path, yaml.safe_load(path.read_text())["include"])
        )
        assert ours["task"] == f"{theirs['task']}_local"
        assert ours["metadata"]["version"] == theirs["metadata"]["version"]
        assert ours["dataset_path"] in ("arrow", "json", "parquet")
        assert {k: v for k, v in ours.items() if k not in WHERE} == {k: v for k, v in theirs.items() if k not in WHERE}


def test_the_group_of_blimp_has_the_members_of_lm_evals_own(data, tmp_path):
    *_, group = write_own("blimp_local", tmp_path, data=data)
    ours, theirs = load_yaml(group), load_yaml(yaml.safe_load(group.read_text())["include"])
    assert ours["task"] == [f"{name}_local" for name in theirs["task"]]
    assert ours["aggregate_metric_list"] == theirs["aggregate_metric_list"]
    assert set(ours["task"]) <= set(own_names())


def test_splits_are_read_however_they_are_stored(data, tmp_path):
    splits = {}
    for name in ("hellaswag_local", "arc_easy_local", "arc_challenge_local", "winogrande_local"):
        (path,) = write_own(name, tmp_path, data=data)
        task = load_yaml(path, resolve_func=False)
        files = task["dataset_kwargs"]["data_files"]
        splits[name] = (task["dataset_path"], {k: [Path(f).name for f in those] for k, those in files.items()})
    shard = "data-00000-of-00001.arrow"
    assert splits == {
        "hellaswag_local": ("arrow", {"validation": [shard]}),
        "arc_easy_local": ("arrow", {"validation": [shard], "test": [shard]}),
        "arc_challenge_local": ("parquet", {"test": ["test-00000-of-00001.parquet"]}),
        "winogrande_local": ("json", {"validation": ["validation.jsonl"]}),
    }


def test_what_a_missing_split_changes_stands_in_the_task(data, tmp_path):
    task = load_yaml(write_own("gsm8k_local", tmp_path, data=data)[0])
    assert task["fewshot_split"] == "test"
    assert task["metadata"]["few_shot_differs"].startswith("few-shot examples from test, without the document")
    (tmp_path / "d" / "ARC-Easy").mkdir(parents=True)
    write_lines(tmp_path / "d" / "ARC-Easy" / "validation.jsonl", [{"question": "?"}])
    task = load_yaml(write_own("arc_easy_local", tmp_path, data=tmp_path / "d")[0])
    assert task["metadata"]["differs"] == "scored on validation, for want of test"
    assert "differs" not in load_yaml(write_own("arc_easy_local", tmp_path, data=data)[0])["metadata"]


def test_sets_of_blimp_may_lie_in_an_archive(data, tmp_path):
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "blimp.jsonl.tar.gz", "w:gz") as archive:
        for path in sorted((data / "blimp").iterdir()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    first, *_ = write_own("blimp_local", tmp_path / "out", data=tmp_path / "packed")
    (file,) = load_yaml(first)["dataset_kwargs"]["data_files"]["train"]
    assert Path(file).read_bytes() == (data / "blimp" / Path(file).name).read_bytes()


def test_no_folder_or_none_with_the_documents_says_what_to_put_where(tmp_path):
    with pytest.raises(UsageError, match=r"reads its documents from files.*\n.*--data FOLDER"):
        write_own("piqa_local", tmp_path, data=None)
    with pytest.raises(UsageError, match="does not exist"):
        write_own("piqa_local", tmp_path, data=tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no documents below .*\n.*piqa/validation\.jsonl"):
        write_own("piqa_local", tmp_path, data=tmp_path)


def test_every_definition_names_a_file_of_lm_eval():
    assert sorted(read_yaml(path).get("task", "blimp_local") for path in OWN.glob("*.yaml")) == sorted(
        own_definitions()
    )

"""The command on real small weights: what it writes, that nothing is done twice, and what it refuses."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.core.inspection import GROUPS, read_inspection
from bench.core.results import verify_results
from bench.errors import UsageError
from bench.inspect.command import inspect_command
from bench.inspect.resolve import InspectRequest
from bench.models.loading import load_model, load_tokenizer
from bench.suites.settings import get_suite
from tests.bench.cli.test_cli import bench
from tests.bench.evaluate.tasks.documents import STORIES

START = get_suite("sentiment").folder / "model"
WRITTEN = {"inspect.csv", "inspect-layers.csv", "inspect.pdf", "inspect.png", "inspect.svg"}


def changed_copy(folder: Path, start: Path, *, names: str) -> Path:
    """The start model with weights moved that have ``names`` in theirs."""
    model = load_model(start)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if names in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.3 * float(parameter.std()))
    model.save_pretrained(folder)
    load_tokenizer(start).save_pretrained(folder)
    return folder


def inspections(out: Path):
    return [read_inspection(path.parent) for path in sorted(out.glob("inspect/*/manifest.json"))]


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory: pytest.TempPathFactory):
    """The suite's model with other up-projections in layer 3, inspected on the suite's texts."""
    folder = tmp_path_factory.mktemp("inspected")
    model = changed_copy(folder / "moved", START, names="layers.2.mlp.up_proj")
    request = InspectRequest(
        models=(str(model),), against=str(START), suite="sentiment", texts=12, results=folder / "out", device="cpu"
    )
    inspect_command(request)
    return request


def test_a_change_planted_in_one_layer_of_real_weights_shows_there_alone(sentiment):
    (found,) = inspections(sentiment.results)
    assert [layer.layer for layer in found.layers if layer.weights["all"].moved > 0] == [3]
    assert [kind for kind, c in found.layers[2].weights.items() if c.moved > 0] == ["all", "up"]
    assert found.layers[2].weights["up"].change == pytest.approx(0.3, rel=0.02)
    assert [layer.absolute > 0 for layer in found.layers] == [False, False, True, True, True, True]
    assert all(change.moved == 0 for change in found.outside.values())


def test_on_real_weights_shares_add_up_and_all_neurons_restore_all(sentiment):
    (found,) = inspections(sentiment.results)
    projection = found.projection
    size = sum(group.raised - group.lowered for group in found.groups.values())
    assert abs(projection.gap) < 1e-5 * size
    assert projection.embeddings == pytest.approx(0, abs=1e-4 * size)
    assert sum(found.groups[name].share for name in GROUPS) == pytest.approx(1, abs=1e-4)
    probe, gold = found.patching
    assert (probe.name, gold.name) == ("probe", "gold_reward")
    for measure in (probe, gold):
        assert abs(measure.effect) > 0
        assert measure.sets["all"].restored == pytest.approx(1, abs=1e-3)
        assert measure.sets["all"].removed == pytest.approx(1, abs=1e-3)
    assert probe.start == pytest.approx(projection.start, abs=1e-4)
    assert probe.trained == pytest.approx(projection.trained, abs=1e-4)
    assert sum(probe.sets[name].neurons for name in GROUPS) == probe.sets["all"].neurons == 6 * 512


def test_tables_and_figure_are_written_and_everything_verifies(sentiment):
    folder = sentiment.results / "inspect"
    assert {path.name for path in folder.iterdir() if path.is_file()} == WRITTEN
    (row,) = csv.DictReader((folder / "inspect.csv").open(encoding="utf-8"))
    (found,) = inspections(sentiment.results)
    assert float(row["probe_restored_all"]) == pytest.approx(found.patching[0].sets["all"].restored)
    assert len(list(csv.DictReader((folder / "inspect-layers.csv").open(encoding="utf-8")))) == 6
    assert not verify_results(sentiment.results)
    (folder / "inspect.csv").write_text("other\n")
    assert [problem.path.name for problem in verify_results(sentiment.results)] == ["inspect.csv"]
    inspect_command(sentiment)
    assert not verify_results(sentiment.results)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two files of texts that differ by what happens in them."""
    folder = tmp_path_factory.mktemp("classes")
    names = ["Lily", "Tom", "Ben", "Mia", "Anna", "Sam"]
    ends = {
        "glad": ["was happy and smiled", "loved the big cake", "played with a nice friend", "laughed all day"],
        "sad": ["was sad and cried", "lost the red ball", "fell and hurt a leg", "was scared of the dark"],
    }
    paths = []
    for kind, texts in ends.items():
        paths.append(folder / f"{kind}.jsonl")
        rows = [{"prompt": f"{name} went out.", "completion": f" {name} {text}."} for name in names for text in texts]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths[0], paths[1]


def test_two_files_of_texts_make_the_probe_and_its_held_out_texts_are_measured(tmp_path, classes):
    model = changed_copy(tmp_path / "moved", STORIES, names="layers")
    inspect_command(
        InspectRequest(models=(str(model),), against=str(STORIES), probe=classes, texts=64, results=tmp_path, layer=4)
    )
    (found,) = inspections(tmp_path)
    assert found.probe.layer == 4
    assert found.probe.source == "glad.jsonl against sad.jsonl"
    assert found.texts == found.probe.held_out == 8
    assert found.probe.trained_on == 40
    assert [measure.name for measure in found.patching] == ["probe"]


def test_nothing_is_computed_twice_and_what_is_damaged_is_computed_again(tmp_path, classes):
    models = [changed_copy(tmp_path / name, STORIES, names=name) for name in ("mlp", "attn")]
    both = InspectRequest(
        models=tuple(map(str, models)), against=str(STORIES), probe=classes, texts=64, results=tmp_path
    )
    inspect_command(replace(both, models=both.models[:1]))
    (place,) = (path.parent for path in tmp_path.glob("inspect/*/manifest.json"))
    written, content = (place / "inspect.json").stat().st_mtime_ns, (place / "inspect.json").read_bytes()
    inspect_command(both)
    assert len(inspections(tmp_path)) == 2
    assert (place / "inspect.json").stat().st_mtime_ns == written
    (place / "inspect.json").write_bytes(content.replace(b'"texts"', b'"textz"'))
    assert [problem.path.name for problem in verify_results(tmp_path)] == ["inspect.json"]
    inspect_command(both)
    again = (place / "inspect.json").read_bytes()
    assert json.loads(again) | {"seconds": 0} == json.loads(content) | {"seconds": 0}


def test_a_run_is_inspected_on_its_own_data_against_the_model_that_it_names(tmp_path):
    prefs = tmp_path / "prefs.jsonl"
    rows = [
        {"prompt": f"Tom saw {n} birds.", "chosen": f" They sang to {n} of his friends.", "rejected": f" No {n} bird."}
        for n in range(60)
    ]
    prefs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out"
    small = ("steps=4", "batch=4", "prompts=4", "tokens=4", "evaluation.pairs=4", "lm_eval=[]", "lora.rank=2")
    options = [word for setting in small for word in ("--set", setting)]
    run = bench("run", "--loss", "dpo", "--data", prefs, "--model", STORIES, "--out", out, "--seeds", "0", *options)
    assert run.returncode == 0, run.stderr
    keys = [path.parent.name for path in out.glob("runs/*/spec.json") if '"start"' not in path.read_text()]
    done = bench("inspect", *(f"run:{key[:8]}" for key in keys), "--out", out, "--texts", "16", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "What moved" in done.stdout
    assert [one.objective for one in inspections(out)] == ["dpo"] * len(keys)
    for found in inspections(out):
        assert found.model.removeprefix("run:") in keys
        assert found.layers[0].weights["q"].moved > 0 == found.layers[0].weights["norm"].moved
        assert found.layers[0].weights["q"].effective_rank < 2.01
        assert "chosen against rejected" in found.source
    assert not verify_results(out)


def test_wrong_requests_are_refused_with_what_would_be_right(tmp_path, classes):
    other = (str(STORIES),)
    for request, said in (
        (InspectRequest(models=other, results=tmp_path), "what it started from"),
        (InspectRequest(models=other, against=str(STORIES), results=tmp_path), "no texts"),
        (InspectRequest(models=other, against=str(STORIES), suite="sentiment", results=tmp_path), "own tokenizer"),
        (InspectRequest(models=other, against=str(STORIES), suite="exact", results=tmp_path), "no samples"),
        (InspectRequest(models=other, against=str(START), probe=classes, results=tmp_path), "another shape"),
        (
            InspectRequest(models=other, against=str(STORIES), probe=classes, layer=9, results=tmp_path),
            "--layer must be from 1 to",
        ),
        (InspectRequest(models=other, against=str(STORIES), probe=classes, device="mps", results=tmp_path), "--device"),
    ):
        with pytest.raises(UsageError, match=said):
            inspect_command(request)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "Tom ran."}\n{"label": 1}\n')
    with pytest.raises(UsageError, match="row 2"):
        inspect_command(InspectRequest(models=other, against=str(STORIES), probe=(bad, bad), results=tmp_path))
    assert not list(tmp_path.glob("inspect/*"))

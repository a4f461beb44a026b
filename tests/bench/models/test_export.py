"""An exported run is a folder that programs load which have never heard of lossbench."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.core.specs import ModelSpec
from bench.errors import UsageError
from bench.evaluate.tasks.score import evaluate_tasks
from bench.models.adapters import load_trained
from bench.models.export import base_name, export
from bench.models.files import check_model_files
from bench.models.loading import load_model
from tests.bench.models.test_adapters import same, trained

HERE, SUITE = Path(__file__).parent, Path(__file__).parents[3] / "bench" / "suites" / "sentiment"


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("lora"), lora=0.0)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("full"))


def exported(job, to, *, kind="merged", dtype="float32"):
    return export(f"run:{job.spec.key}", to, results=job.results, kind=kind, dtype=dtype, note=lambda text: None)


def test_a_merged_export_is_the_model_that_was_evaluated(lora, full, tmp_path):
    for name, job in (("lora", lora), ("full", full)):
        folder = exported(job, tmp_path / name)
        check_model_files(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        assert same(theirs, load_trained(job.run, load_model(job.model), spec=job.spec))
        assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer("w3 w7").input_ids == AutoTokenizer.from_pretrained(job.model)("w3 w7").input_ids
        assert tokenizer.eos_token_id == 0
        assert "local_files_only" not in (folder / "tokenizer_config.json").read_text()


def test_an_adapter_finds_its_base_by_itself_and_gives_the_merged_models_logits(lora, tmp_path):
    merged, adapter = exported(lora, tmp_path / "m"), exported(lora, tmp_path / "a", kind="adapter")
    ids = torch.tensor([[0, 5, 9, 2, 7]])
    with torch.no_grad():
        one = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(ids).logits
        two = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32)(ids).logits
        start = load_model(lora.model)(ids).logits
    assert torch.allclose(one, two, atol=1e-5)
    assert (one - start).abs().max() > 1e-4


def test_bfloat16_is_half_the_size_and_the_rounded_numbers(lora, tmp_path):
    whole, half = (
        load_file(exported(lora, tmp_path / d, dtype=d) / "model.safetensors") for d in ("float32", "bfloat16")
    )
    assert all(torch.equal(whole[name].bfloat16(), half[name]) for name in whole)


def test_the_card_says_what_was_done_and_leaves_the_licence_to_the_user(lora, tmp_path):
    for kind, library in (("merged", "transformers"), ("adapter", "peft")):
        text = (exported(lora, tmp_path / kind, kind=kind) / "README.md").read_text(encoding="utf-8")
        _, header, body = text.split("---\n", 2)
        settings = yaml.safe_load(header)
        assert (settings["library_name"], settings["base_model"]) == (library, "model")
        assert "license" not in settings
        contents = (lora.spec.data.content, lora.spec.model.content, lora.spec.key)
        for value in ("| parameters | beta = 0.1", "| steps, batch | 3, 8 |", "rank 4", *contents):
            assert value in body
        assert str(lora.model.parent) not in text


def test_a_model_of_a_hub_is_named_with_its_commit(lora, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    spec = lora.spec.model_copy(
        update={"model": ModelSpec(source=f"org/tiny@{commit}, chat template zephyr", content="")}
    )
    assert base_name(spec, tmp_path) == ("org/tiny", commit)
    assert base_name(lora.spec, tmp_path) == (str(tmp_path.resolve()), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"source": "run:ffff"}, "no finished run"), ({"source": "model"}, "takes a run"),
     ({"dtype": "int8"}, "float32 or"), ({"kind": "adapter"}, "no adapter: all weights trained")],
)  # fmt: skip
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(full, tmp_path, options, message):
    arguments = {"source": f"run:{full.spec.key}", "kind": "merged", "dtype": "float32"} | options
    with pytest.raises(UsageError, match=message):
        export(arguments.pop("source"), tmp_path / "to", results=full.results, note=lambda text: None, **arguments)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(full, tmp_path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(UsageError, match="must be a new or empty folder"):
        exported(full, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_a_fresh_environment_gives_the_same_logits_and_lm_evals_numbers(tmp_path):
    """Nothing of lossbench is installed there. ``LOSSBENCH_FRESH_PYTHON``: an environment that has the packages.

    ``LOSSBENCH_EXPORT`` names a run as RESULTS/runs/KEY; else a small one is trained.
    """
    python = Path(os.environ.get("LOSSBENCH_FRESH_PYTHON") or fresh(tmp_path / "environment"))
    run_folder = os.environ.get("LOSSBENCH_EXPORT")
    if run_folder is None:
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        command = [sys.executable, "-m", "bench", "run", "--loss", "dpo", "--out", str(tmp_path / "results")]
        for value in ("lora.rank=4", "steps=8", "batch=4", "prompts=8", "tokens=8", "evaluation.pairs=8", "lm_eval=[]"):
            command += ["--set", value]
        subprocess.run([*command, "--seeds", "0", "--workers", "1"], check=True, env=environment, capture_output=True)
        (run,) = (path.parent for path in (tmp_path / "results" / "runs").glob("*/adapter"))
    else:
        run = Path(run_folder)
    results = run.parents[1]
    merged, adapter = tmp_path / "merged", tmp_path / "adapter"
    for folder, kind in ((merged, "merged"), (adapter, "adapter")):
        export(f"run:{run.name}", folder, results=results, kind=kind, dtype="float32", note=print)
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    task = tmp_path / "tasks" / "pairs_here.yaml"
    task.parent.mkdir()
    definition = (SUITE / "blimp" / "blimp.yaml").read_text()
    task.write_text(
        definition.replace("task: blimp", "task: pairs_here").replace(
            "test: blimp.jsonl", f"test: {SUITE}/blimp/blimp.jsonl"
        )
    )
    (tmp_path / "outside").mkdir()
    script = tmp_path / "outside" / "outside.py"
    script.write_text((HERE / "outside.py").read_text())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    arguments = [merged, adapter, base, task, tmp_path / "outside"]
    done = subprocess.run(
        [str(python), str(script), *map(str, arguments)],
        capture_output=True, text=True, cwd=script.parent, env=environment | {"HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    evaluate_tasks(str(merged), tasks=["pairs_here"], include=task.parent, limit=40, out=tmp_path / "ours.json")
    rows = json.loads((tmp_path / "ours.json").read_text())["results"]
    ours = {row["metric"]: row["value"] for row in rows}
    print(json.dumps(report), ours)
    assert report["same_ids"]
    assert report["template"]
    assert report["weights_equal"]
    assert report["trained"] > 100 * report["adapter_differs"]
    assert report["adapter_differs"] < 1e-3
    assert report["merged"]["acc"] == report["adapter"]["acc"] == pytest.approx(ours["acc"], abs=1e-12)


def fresh(folder: Path) -> Path:
    """An environment with transformers, peft and lm-eval, at the versions of ``constraints.txt``."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "-c", str(HERE.parents[2] / "constraints.txt")]
    subprocess.run([*pip, "torch", "transformers", "peft", "lm-eval", "accelerate"], check=True)
    return folder / "bin" / "python"

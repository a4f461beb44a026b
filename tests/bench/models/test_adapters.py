"""A run with LoRA keeps its adapter alone, and everything downstream gets the numbers of the merged model."""

import copy
import json
import shutil

import pytest
import torch
from peft import PeftModel

from bench.core.artifacts import verify_folder
from bench.core.manifest import is_complete, seal
from bench.core.specs import LoraSpec, ModelSpec
from bench.errors import RunError, UsageError
from bench.models.adapters import load_trained, save_trained
from bench.models.loading import load_model, load_tokenizer, model_hash, save_checkpoint
from bench.models.sources import resolve_model
from bench.train.job import run_job
from tests.bench.conftest import tiny_model, tiny_spec
from tests.bench.tiny_tokenizer import tiny_tokenizer
from tests.bench.train.distributed.material import job, spec_of

LORA = LoraSpec(rank=4, dropout=0.1)


def trained(folder, **changes):
    """A finished run of a few steps whose start model is known by its content."""
    wanted = job(folder, spec_of("dpo", steps=3, **changes))
    spec = wanted.spec.model_copy(
        update={"model": ModelSpec(source=str(wanted.model), content=model_hash(wanted.model))}
    )
    finished = wanted.model_copy(update={"spec": spec})
    run_job(finished, report=lambda step, row: None, should_stop=lambda: False)
    return finished


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("lora"), lora=0.1)


@pytest.fixture
def finished(tmp_path):
    """The same in a place where a test may do as it likes."""
    return trained(tmp_path, lora=0.1)


def test_the_model_of_start_and_adapter_is_that_of_a_merged_checkpoint_to_the_bit(run_loop, tmp_path):
    spec = tiny_spec("dpo", lora=LORA)
    start = tiny_model()
    _, model = run_loop(spec)
    save_trained(model, tiny_tokenizer(), tmp_path, spec=spec, start=tmp_path)
    save_checkpoint(copy.deepcopy(model), tiny_tokenizer(), tmp_path / "merged")
    trained = load_trained(tmp_path, start, spec=spec)
    assert same(trained, load_model(tmp_path / "merged"))
    assert not same(trained, start)
    assert same(start, tiny_model())


def test_loading_draws_no_random_number(run_loop, tmp_path):
    spec = tiny_spec("dpo", lora=LORA)
    _, model = run_loop(spec)
    start = tiny_model()
    save_trained(model, tiny_tokenizer(), tmp_path, spec=spec, start=tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_trained(tmp_path, start, spec=spec)
    assert torch.equal(torch.rand(3), expected)


def test_a_run_keeps_an_adapter_that_peft_reads_and_no_weights_of_its_start(whole):
    assert sorted(path.name for path in (whole.run / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "start.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert not (whole.run / "checkpoint").exists()
    assert is_complete(whole.run)
    settings = json.loads((whole.run / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(whole.model)
    assert (settings["r"], settings["lora_alpha"], settings["inference_mode"]) == (4, 16.0, True)
    assert settings["target_modules"] == sorted(settings["target_modules"])
    theirs = PeftModel.from_pretrained(load_model(whole.model), whole.run / "adapter").merge_and_unload()
    assert same(theirs, load_trained(whole.run, load_model(whole.model), spec=whole.spec))


def test_run_key_is_the_merged_model_and_made_once(finished):
    notes = []
    key = f"run:{finished.spec.key[:8]}"
    folder = resolve_model(key, results=finished.results, note=notes.append)
    assert folder == finished.results / "models" / f"merged-{finished.spec.key}"
    assert same(load_model(folder), load_trained(finished.run, load_model(finished.model), spec=finished.spec))
    assert load_tokenizer(folder).get_vocab() == load_tokenizer(finished.model).get_vocab()
    assert verify_folder(folder, stage="prepare") == []
    assert resolve_model(key, results=finished.results, note=notes.append) == folder
    assert len(notes) == 1
    content = model_hash(folder)
    (folder / "model.safetensors").write_bytes(b"damage")
    resolve_model(key, results=finished.results, note=notes.append)
    assert model_hash(folder) == content


def test_the_start_model_is_recognised_by_its_content_where_it_was_prepared_and_nothing_else_is_taken(finished):
    key = f"run:{finished.spec.key}"
    kept = finished.results / "models" / "prepared-before"
    kept.parent.mkdir()
    finished.model.rename(kept)
    tiny_model(seed=1).save_pretrained(finished.model)  # another model where the start model was
    folder = resolve_model(key, results=finished.results)
    assert same(load_model(folder), load_trained(finished.run, load_model(kept), spec=finished.spec))
    shutil.rmtree(folder)
    tiny_model(seed=1).save_pretrained(kept)
    with pytest.raises(UsageError, match=r"its start model .* is not found"):
        resolve_model(key, results=finished.results)


def test_an_adapter_of_another_shape_is_refused(finished):
    spec = finished.spec.model_copy(update={"train": finished.spec.train.model_copy(update={"lora": LoraSpec(rank=2)})})
    with pytest.raises(RunError, match=r"does not fit its start model with lora\.rank=2"):
        load_trained(finished.run, load_model(finished.model), spec=spec)


def test_a_damaged_adapter_is_refused(finished):
    path = finished.run / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RunError, match="is damaged"):
        resolve_model(f"run:{finished.spec.key}", results=finished.results)
    with pytest.raises(RunError, match="cannot be read"):
        load_trained(finished.run, load_model(finished.model), spec=finished.spec)


def test_a_run_of_whole_weights_and_one_from_before_keep_a_checkpoint(whole, tmp_path):
    full = trained(tmp_path)
    assert not (full.run / "adapter").exists()
    assert resolve_model(f"run:{full.spec.key}", results=full.results) == full.run / "checkpoint"
    # As runs with LoRA were saved before: merged.
    shutil.copytree(whole.run, full.results / "runs" / whole.spec.key)
    old = full.results / "runs" / whole.spec.key
    shutil.rmtree(old / "adapter")
    merged = load_trained(whole.run, load_model(whole.model), spec=whole.spec)
    save_checkpoint(merged, load_tokenizer(whole.model), old / "checkpoint")
    (old / "manifest.json").unlink()
    seal(old, stage="train")
    assert resolve_model(f"run:{whole.spec.key}", results=full.results) == old / "checkpoint"
    assert same(load_trained(old, load_model(whole.model), spec=whole.spec), merged)

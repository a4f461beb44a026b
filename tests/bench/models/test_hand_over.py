"""What a model's folder says besides its weights, on every way that it is saved, copied or exported."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from bench.core.specs import Execution, ModelSpec
from bench.data.table import write_encoded
from bench.models.end_tokens import end_ids
from bench.models.export import export
from bench.models.hub import UNWANTED, WANTED
from bench.models.loading import load_model, load_tokenizer, model_hash
from bench.models.sources import resolve_model
from bench.train.job import TrainJob, run_job
from tests.bench.conftest import tiny_pairs, tiny_reference
from tests.bench.models.chat_models import CHATML, END, EOS, OTHER, make_llama, make_tokenizer
from tests.bench.train.distributed.material import spec_of

TOOLS = "{% for m in messages %}TOOL {{ m.content }}<end>{% endfor %}"
TURNS = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat on <call> a mat"}]
WORDS = "the cat <call> sat on a mat"


def start_model(folder: Path, **sizes: object) -> Path:
    """Named templates, an added token, an end that EOS does not name, weights of two bytes in several files."""
    tokenizer = make_tokenizer(template=CHATML)
    tokenizer.add_tokens(["<call>"])
    tokenizer.chat_template = {"default": CHATML, "tool_use": TOOLS}
    model = make_llama(size=len(tokenizer), likely=[EOS, END], **sizes).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="30KB")
    tokenizer.save_pretrained(folder)
    # A temperature without sampling, as many models of a hub have it, is read by transformers and never written.
    settings = {"eos_token_id": [EOS, OTHER], "temperature": 0.6, "do_sample": False, "bos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    (folder / "added_tokens.json").write_text(json.dumps({"<call>": len(tokenizer) - 1}))
    (folder / "special_tokens_map.json").write_text(json.dumps(dict(tokenizer.special_tokens_map)))
    assert len(list(folder.glob("*.safetensors"))) > 1
    with pytest.raises(ValueError, match="invalid"):
        GenerationConfig(**settings).save_pretrained(folder)
    return folder


def finished(folder: Path, *, sizes: Mapping[str, object] = MappingProxyType({}), **changes: object) -> TrainJob:
    """A run of a few steps on such a model."""
    start, data = start_model(folder / "model", **sizes), tiny_pairs()
    spec = spec_of("dpo", **{"steps": 2} | changes)
    spec = spec.model_copy(update={"model": ModelSpec(source=str(start), content=model_hash(start))})
    (folder / "data").mkdir()
    write_encoded(data, folder / "data")
    tiny_reference(load_model(start), data, spec, folder / "reference")
    job = TrainJob(
        spec=spec, execution=Execution(device="cpu", micro_batch=2), model=start, data=folder / "data",
        references=tuple(sorted((folder / "reference").iterdir())), results=folder / "results",
    )  # fmt: skip
    run_job(job, report=lambda step, row: None, should_stop=lambda: False)
    return job


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("lora"), lora=0.0)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("full"))


def same_words(folder: Path, start: Path, *, template: str = CHATML) -> None:
    """Text, dialogues by each template, and ids are those of the start model."""
    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(start)
    assert ours.chat_template == {"default": template, "tool_use": TOOLS}
    assert len(ours) == len(theirs)
    for name in ("default", "tool_use"):
        named = theirs.chat_template[name] if name == "tool_use" else template
        text = theirs.apply_chat_template(TURNS, chat_template=named, tokenize=False)
        assert ours.apply_chat_template(TURNS, chat_template=name, tokenize=False) == text
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    assert ours.decode(ours(WORDS)["input_ids"], skip_special_tokens=True) == WORDS
    assert ours.special_tokens_map == theirs.special_tokens_map
    for name in ("special_tokens_map.json", "added_tokens.json"):
        assert (folder / name).read_bytes() == (start / name).read_bytes()


def settings_of(folder: Path) -> dict:
    return json.loads((folder / "generation_config.json").read_text())


def test_a_checkpoint_keeps_the_files_of_its_start(full):
    folder = full.run / "checkpoint"
    same_words(folder, full.model)
    assert settings_of(folder) == settings_of(full.model)
    assert end_ids(folder, load_tokenizer(folder)) == {EOS, END, OTHER}


def test_an_adapter_and_what_is_merged_of_it_keep_them_too(lora):
    same_words(lora.run / "adapter", lora.model)
    merged = resolve_model(f"run:{lora.spec.key}", results=lora.results)
    assert merged.name.startswith("merged-")
    same_words(merged, lora.model)
    assert settings_of(merged) == settings_of(lora.model)


def test_a_folder_with_another_template_keeps_all_but_the_default_one(full, tmp_path):
    mine = "{% for m in messages %}{{ m.role }}: {{ m.content }}<end>\n{% endfor %}"
    mine += "{% if add_generation_prompt %}assistant: {% endif %}"
    (tmp_path / "mine.jinja").write_text(mine)
    folder = resolve_model(str(full.model), results=tmp_path, chat_template=str(tmp_path / "mine.jinja"))
    same_words(folder, full.model, template=mine)
    assert settings_of(folder) == settings_of(full.model)
    assert sorted(p.name for p in folder.glob("*.safetensors")) == sorted(
        p.name for p in full.model.glob("*.safetensors")
    )
    ids = torch.tensor([[1, 20, 30]])
    with torch.no_grad():
        assert torch.equal(load_model(folder)(ids).logits, load_model(full.model)(ids).logits)


def test_named_templates_in_a_tokenizers_settings_are_kept_beside_another_default(full, tmp_path):
    """As transformers 4 wrote them: a list in tokenizer_config.json."""
    old = tmp_path / "old"
    old.mkdir()
    for path in full.model.iterdir():
        if path.is_file() and path.name != "chat_template.jinja":
            (old / path.name).write_bytes(path.read_bytes())
    settings = json.loads((old / "tokenizer_config.json").read_text())
    settings["chat_template"] = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": TOOLS}]
    (old / "tokenizer_config.json").write_text(json.dumps(settings))
    same_words(old, full.model)
    folder = resolve_model(str(old), results=tmp_path / "results", chat_template="zephyr")
    templates = load_tokenizer(folder).chat_template
    assert templates["tool_use"] == TOOLS
    assert "<|assistant|>" in templates["default"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_exported_folder_says_what_the_run_said_and_names_its_ends(lora, full, tmp_path, dtype):
    for name, job in (("lora", lora), ("full", full)):
        folder = export(
            f"run:{job.spec.key}", tmp_path / name, results=job.results, kind="merged", dtype=dtype, note=print
        )
        same_words(folder, job.model)
        assert settings_of(folder) == settings_of(job.model) | {"eos_token_id": [EOS, END, OTHER]}
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.dtype == getattr(torch, dtype)
        assert model.generation_config.eos_token_id == [EOS, END, OTHER]
        assert end_ids(folder, load_tokenizer(folder)) == end_ids(job.model, load_tokenizer(job.model))


def test_an_exported_adapter_says_it_too(lora, tmp_path):
    folder = export(
        f"run:{lora.spec.key}", tmp_path / "adapter", results=lora.results, kind="adapter", dtype="float32", note=print
    )
    same_words(folder, lora.model)


def test_a_model_of_a_hub_comes_with_its_named_templates_and_without_other_folders():
    from huggingface_hub.utils import filter_repo_objects

    wanted = ["config.json", "model-00001-of-00002.safetensors", "additional_chat_templates/tool_use.jinja"]
    wanted += ["tokenizer.model", "spiece.model", "generation_config.json"]
    others = ["onnx/model.json", "assets/a.json", "adapters/adapter_config.json", "original/tokenizer.model"]
    kept = filter_repo_objects([*wanted, *others], allow_patterns=WANTED, ignore_patterns=UNWANTED)
    assert list(kept) == wanted

"""QLoRA: refused where it cannot be trained, no key changes, and the rounded folder is what four bits hold."""

import math

import pytest
import torch

from bench.core.request import apply
from bench.core.specs import Execution, LoraSpec, TrainSpec
from bench.errors import UsageError
from bench.models.loading import load_model, load_tokenizer, model_hash
from bench.models.quantize import check_quantize, load_four_bits, rounded_folder
from tests.bench.conftest import tiny_spec
from tests.bench.evaluate.tasks.documents import STORIES


def test_four_bits_are_refused_on_a_cpu_with_what_to_do():
    with pytest.raises(UsageError, match=r"lora\.quantize=nf4 needs a CUDA device.*\n.*--set lora\.rank=8"):
        check_quantize(LoraSpec(quantize="nf4"), Execution(device="cpu"))
    check_quantize(LoraSpec(), Execution(device="cpu"))
    check_quantize(None, Execution())


def test_other_bits_are_refused():
    with pytest.raises(UsageError, match=r"lora\.quantize='int8'"):
        apply(LoraSpec(), {"quantize": "int8"}, section="lora")


def test_a_run_that_says_nothing_of_bits_keeps_its_key():
    before = tiny_spec("dpo", lora=LoraSpec())
    assert "quantize" not in before.canonical()
    assert LoraSpec().model_dump() == {"rank": 8, "alpha": 16.0, "dropout": 0.0}
    assert tiny_spec("dpo", lora=LoraSpec(quantize="nf4")).key != before.key


def test_lora_learns_in_bfloat16_on_a_cpu(run_loop):
    progress, model = run_loop(tiny_spec("dpo", steps=16, learning_rate=1e-2, lora=LoraSpec(rank=4), precision="bf16"))
    assert math.isclose(progress.curves["loss"][0], math.log(2), abs_tol=0.02)
    assert progress.curves["loss"][-1] < 0.95 * progress.curves["loss"][0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_rounded_folder_holds_the_numbers_of_four_bits(tmp_path, monkeypatch):
    modules = pytest.importorskip("bitsandbytes.nn.modules", reason="the extra qlora is not installed")
    # On some CPUs bitsandbytes packs the weights again for kernels of its own, in bfloat16.
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: False)
    folder = rounded_folder(STORIES, results=tmp_path, note=lambda text: None)
    four = load_four_bits(folder, TrainSpec(steps=1, batch=1, learning_rate=1e-3), device="cpu")
    ids = torch.tensor([load_tokenizer(folder)("Once upon a time, Lily").input_ids])
    with torch.no_grad():
        logits, expected, start = (model(ids).logits for model in (four, load_model(folder), load_model(STORIES)))
    assert torch.allclose(logits, expected, atol=1e-4)
    assert (start - expected).abs().max() > 0.1
    assert model_hash(folder) != model_hash(STORIES)

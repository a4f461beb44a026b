"""The number of token ids that a model reads: from the weights' headers, else from its config."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench.errors import UsageError
from bench.models.embedding_rows import embedded, embedding_rows
from tests.bench.short_model import MODEL


def small(vocabulary: int) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **sizes))


def test_a_saved_model_has_as_many_rows_as_its_loaded_embedding(tmp_path):
    for count in (40, 48):
        small(count).save_pretrained(tmp_path / str(count))
        model = AutoModelForCausalLM.from_pretrained(tmp_path / str(count))
        assert embedding_rows(tmp_path / str(count)) == embedded(model) == count
    assert embedding_rows(MODEL) == embedded(AutoModelForCausalLM.from_pretrained(MODEL))


def test_the_weights_say_more_than_the_config_also_in_shards(tmp_path):
    small(48).save_pretrained(tmp_path, max_shard_size="2KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 64}))
    assert embedding_rows(tmp_path) == 48


@pytest.mark.parametrize(
    "names",
    [["model.table.weight"], ["a.wte.weight", "b.wte.weight"], ["vision_model.embed_tokens.weight"]],
)
def test_the_config_decides_where_the_weights_have_no_single_table_of_text(tmp_path, names):
    shutil.copy(MODEL / "config.json", tmp_path)
    tensors = {name: torch.zeros(5 + place, 2) for place, name in enumerate(names)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert embedding_rows(tmp_path) == json.loads((MODEL / "config.json").read_text())["vocab_size"]


def test_damaged_weights_are_named(tmp_path):
    shutil.copy(MODEL / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"model\.safetensors cannot be read"):
        embedding_rows(tmp_path)

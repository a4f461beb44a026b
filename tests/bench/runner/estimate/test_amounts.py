"""Counts of a plan: what seeds draw, what is shared, and how large a model is without its weights."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen3Config

from bench.core.data_options import AS_IT_IS
from bench.core.request import RunRequest
from bench.core.specs import LoraSpec
from bench.data.row_counts import count_rows
from bench.models.loading import with_lora
from bench.runner.estimate.amounts import tokens_of, work_tokens
from bench.runner.estimate.probe import Parts, within
from bench.runner.estimate.stand_in import MOST_LAYER, MOST_VOCABULARY, shape_of, stand_in_of
from bench.runner.plan import make_plan
from bench.runner.reference import planned_needs
from bench.train.drawn_rows import completions_of
from tests.bench.conftest import tiny_pairs
from tests.bench.runner.plan_accuracy import SUITE


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Return a plan of a few steps on the sentiment suite."""
    folder = tmp_path_factory.mktemp("plan")
    options = {"loss": "dpo,kto", "trials": 2, "seeds": 2, "set": ["train.steps=5"], "out": folder}
    return make_plan(RunRequest.from_options(options), scratch=folder)


def test_the_reference_is_asked_for_what_the_runs_ask(plan):
    rows = len(plan.workspace.data.rows)
    assert planned_needs(plan, most=True, rows=rows) == planned_needs(plan)
    # ten times as many rows: each seed draws the same number of other ones, for none draws a quarter of them
    assert completions_of(planned_needs(plan, most=True, rows=10 * rows)) == completions_of(planned_needs(plan))


def test_a_prompt_is_read_once_where_rows_are_packed():
    rows = [((1, 2, 3), (4, 5)), ((1, 2, 3), (6,)), ((7,), (8,))]
    assert tokens_of(rows) == 11
    assert work_tokens(rows, packed=True) == 8
    assert work_tokens(rows, packed=False) == 11


CONFIGS = (
    LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=5, num_attention_heads=4, vocab_size=200),
    Qwen2Config(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                vocab_size=300, tie_word_embeddings=True),
    Qwen3Config(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                vocab_size=100, head_dim=16),
)  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@pytest.mark.parametrize("lora", [None, LoraSpec(rank=3)], ids=["whole", "lora"])
def test_a_models_size_is_counted_without_it(tmp_path, config, lora):
    from transformers import AutoModelForCausalLM

    config.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(config)
    parameters = sum(each.numel() for each in model.parameters())
    if lora is not None:
        model = with_lora(model, lora, seed=0)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    shape = shape_of(tmp_path, lora)
    assert (shape.parameters, shape.trained, shape.layers) == (parameters, trained, config.num_hidden_layers)
    assert shape.vocabulary == config.vocab_size


def test_the_stand_in_of_a_large_model_is_small(tmp_path):
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128256,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    stand_in = stand_in_of(tmp_path, None)
    model = stand_in.build(1, 1.0)
    layer = sum(each.numel() for each in model.model.layers.parameters())
    assert layer < 1.5 * MOST_LAYER
    assert stand_in.vocabulary == MOST_VOCABULARY
    assert stand_in.wider * layer == pytest.approx(218112000, rel=0.01)
    assert sum(each.numel() for each in model.parameters()) < 20_000_000


def test_a_stand_in_has_the_models_own_layers(tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(CONFIGS[0]).save_pretrained(tmp_path)
    stand_in = stand_in_of(tmp_path, None)
    one, two = (sum(each.numel() for each in stand_in.build(layers, 1.0).parameters()) for layers in (1, 2))
    assert two - one == shape_of(tmp_path, None).layer
    assert (stand_in.wider, stand_in.more_words) == (1.0, 1.0)


def test_ids_beyond_a_stand_ins_vocabulary_are_brought_within():
    units = [(row,) for row in tiny_pairs(4).rows]
    for (one,), (other,) in zip(units, within(units, 10), strict=True):
        ids = (*other.prompt_ids, *other.chosen_ids, *other.rejected_ids)
        assert max(ids) < 10
        assert [len(one.prompt_ids), len(one.chosen_ids)] == [len(other.prompt_ids), len(other.chosen_ids)]


def test_parts_grow_with_layers_and_tokens():
    parts = Parts(fixed=1.0, words=2.0, layer=0.5, tokens=10)
    assert parts.at(10, layers=4) == 5.0
    assert parts.at(20, layers=4) == 10.0


def test_rows_are_counted_in_every_container(tmp_path):
    import pandas as pd

    rows = [{"prompt": f"a{i}", "chosen": "b\n", "rejected": "c"} for i in range(7)]
    lines = "\n".join(map(json.dumps, rows))
    files: dict[str, bytes] = {
        "plain.jsonl": f"{lines}\n".encode(),
        "open.jsonl": lines.encode(),
        "blank.jsonl": f"\n{lines}\n\n".encode(),
        "list.json": json.dumps(rows).encode(),
        "packed.jsonl.gz": gzip.compress(f"{lines}\n".encode()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    for path in sorted(tmp_path.iterdir()):
        assert count_rows(path, AS_IT_IS) == 7, path.name


def test_the_suites_own_model_is_as_large_as_its_file():
    from bench.runner.resources import parameters_in

    folder = Path(SUITE) / "model"
    assert shape_of(folder, None).parameters == parameters_in(folder)

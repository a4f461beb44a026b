"""The small real model: its tokenizer, and that its folder is what the conversion gives."""

import os
from pathlib import Path

import pytest
import torch

from bench.models.loading import load_model, load_tokenizer
from tests.bench.evaluate.tasks.documents import STORIES
from tests.bench.models.convert_llama2c import convert

TEXTS = ["Lily's mom said, \"Let's go!\"", "  two spaces ", "7 é ü 中", "line\nline", "A"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_begins_with_the_begin_token_and_decodes_to_itself(text):
    tokenizer = load_tokenizer(STORIES)
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id == tokenizer.eos_token_id == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_story_costs_little_more_than_a_nat_a_token():
    model, tokenizer = load_model(STORIES), load_tokenizer(STORIES)
    ids = torch.tensor([tokenizer((STORIES / "golden.txt").read_text(encoding="utf-8")).input_ids])
    with torch.no_grad():
        loss = model(ids, labels=ids).loss
    assert ids.shape[1] == 257  # the begin token and the 256 that were generated: the text is cut as the model wrote it
    assert loss < 1.0


def test_the_folder_is_what_the_conversion_gives(tmp_path):
    folder = Path(os.environ.get("LOSSBENCH_EVAL_DATA", "nowhere")) / "stories260K"
    if not folder.is_dir():
        pytest.skip("LOSSBENCH_EVAL_DATA has no stories260K with the files of llama2.c")
    convert(folder / "stories260K.bin", folder / "tok512.bin", tmp_path)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (STORIES / name).read_bytes()

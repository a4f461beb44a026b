"""A model whose tokenizer knows more tokens than the model has embeddings for."""

import shutil
from pathlib import Path

import bench.suites
from bench.models.embedding_rows import embedding_rows
from bench.models.loading import load_tokenizer

MODEL = Path(bench.suites.__file__).parent / "sentiment" / "model"
EXTRA = "<zebra>"
"""The text of the token that has no embedding."""


def short_model(folder: Path, *, pad: str | None = None) -> Path:
    """Copy the sentiment suite's model with ``EXTRA`` in its tokenizer, and with another pad token, if there is one."""
    shutil.copytree(MODEL, folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens([EXTRA])
    if pad is not None:
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.save_pretrained(folder)
    return folder


def beyond(folder: Path = MODEL) -> str:
    """Return what messages say about ``EXTRA``."""
    rows = embedding_rows(folder)
    return f"token '{EXTRA}' (id {rows}) is beyond the model's {rows} embeddings"

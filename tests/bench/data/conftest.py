"""What the tests of the data share: a real tokenizer made on the spot, and writers of small files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAIR = {"prompt": "The cat", "chosen": " sat on the mat", "rejected": " ran away"}
SINGLE = {"prompt": "The cat", "completion": " sat on the mat", "label": True}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


CHAT = {"prompt": [user("The cat?")], "chosen": [assistant("It sat.")], "rejected": [assistant("It ran.")]}


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    """A byte-level BPE of all 256 bytes and a few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and ran away again"] * 20, trainer)
    return tokenizer


@pytest.fixture
def make_tokenizer(bpe: Tokenizer) -> Callable[..., PreTrainedTokenizerFast]:
    def make(**changes: Any) -> PreTrainedTokenizerFast:
        tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "chat_template": None} | changes
        template = tokens.pop("chat_template")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **{k: v for k, v in tokens.items() if v is not None})
        tokenizer.chat_template = template
        return tokenizer

    return make


@pytest.fixture
def chat(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    return make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=CHATML)


def write_rows(path: Path, rows: list[Any]) -> Path:
    """Write rows in the format that the suffix names."""
    if path.name.endswith(".parquet"):
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    text = json.dumps(rows) if path.name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path

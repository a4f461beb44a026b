"""Tokens without an embedding are named by row, field, text and id before anything is trained or measured."""

import pytest

from bench.core.data_options import DataOptions
from bench.data.encode import encode, encode_ids
from bench.data.encoded_splits import encode_splits
from bench.data.preferences import read_preferences
from bench.errors import UsageError
from bench.suites.inputs import FRACTIONS
from bench.suites.pairs import Pair

from .conftest import CHATML, PAIR, SINGLE, write_rows


@pytest.fixture
def tokenizer(make_tokenizer):
    tokenizer = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=CHATML)
    tokenizer.add_tokens(["xyz"])
    return tokenizer


@pytest.mark.parametrize("form", ["text", "messages"])
@pytest.mark.parametrize(
    ("row", "field"),
    [
        (PAIR | {"prompt": "The xyz cat"}, "prompt"),
        (PAIR | {"chosen": " sat on xyz"}, "chosen"),
        (PAIR | {"rejected": "xyz"}, "rejected"),
        (SINGLE | {"completion": "a xyz"}, "completion"),
    ],
)
def test_a_token_beyond_the_embeddings_is_named(tmp_path, tokenizer, form, row, field):
    embeddings = len(tokenizer) - 1
    plain = SINGLE if "label" in row else PAIR
    path = write_rows(tmp_path / "a.jsonl", [plain, plain | {"prompt": "A"}, row])
    read = read_preferences(path, DataOptions(form=form))
    with pytest.raises(UsageError) as caught:
        encode(read, tokenizer, max_length=64, embeddings=embeddings)
    assert str(caught.value).startswith(
        f"{path}, row 3, field '{field}': token 'xyz' (id {embeddings}) is beyond the model's {embeddings} embeddings"
    )
    one_more = encode(read, tokenizer, max_length=64, embeddings=len(tokenizer))
    assert one_more == encode(read, tokenizer, max_length=64)


def test_the_parts_of_a_data_set_are_checked(tmp_path, tokenizer):
    rows = [PAIR | {"prompt": f"Row {i}"} for i in range(20)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    validation = write_rows(tmp_path / "v.jsonl", [*rows[:3], PAIR | {"chosen": "xyz"}])
    sizes = {"max_length": 64, "fractions": FRACTIONS}
    encode_splits([path], DataOptions(), tokenizer, embeddings=len(tokenizer) - 1, **sizes)
    options = DataOptions(validation=validation)
    with pytest.raises(UsageError, match=rf"{validation}, row 4, field 'chosen': token 'xyz'"):
        encode_splits([path], options, tokenizer, embeddings=len(tokenizer) - 1, **sizes)


def test_ids_are_checked_too(tokenizer):
    last = len(tokenizer) - 1
    pairs = [
        Pair(prompt_ids=[5], chosen_ids=[6], rejected_ids=ids, chosen_score=1.0, rejected_score=0.0)
        for ids in ([7], [last])
    ]
    encode_ids(pairs, tokenizer, max_length=8, source="them", embeddings=last + 1)
    with pytest.raises(UsageError, match=rf"them, row 2, field 'rejected': token 'xyz' \(id {last}\) is beyond"):
        encode_ids(pairs, tokenizer, max_length=8, source="them", embeddings=last)


def test_a_model_without_an_embedding_of_eos_is_refused(tmp_path, tokenizer):
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    read = read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR]), DataOptions(form="messages"))
    with pytest.raises(UsageError, match=r"the tokenizer's EOS: token '\[END\]' \(id \d+\) is beyond the model's"):
        encode(read, tokenizer, max_length=64, embeddings=len(tokenizer) - 1)


def test_padding_has_an_embedding(tmp_path, tokenizer):
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    read = read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR]))
    whole = encode(read, tokenizer, max_length=64)
    assert whole.pad_id == tokenizer.pad_token_id == len(tokenizer) - 1
    short = encode(read, tokenizer, max_length=64, embeddings=len(tokenizer) - 1)
    assert short.pad_id == short.eos_id
    assert short.rows == whole.rows

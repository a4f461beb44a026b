"""The reference cache: shared, keyed by content, never wrong in silence."""

from pathlib import Path

import pytest
import torch

from bench.errors import RunError
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import open_reference, read_references, reference_key
from tests.bench.conftest import tiny_model

ROWS = [((0, 5), (6, 7, 8)), ((0, 5), (9,)), ((0, 5, 6), (7, 8))]


class Loader:
    """Counts how often the model is asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> CompletionLogProbs:
        self.calls += 1
        return CompletionLogProbs(tiny_model())


def opened(folder: Path, loader: Loader, rows=ROWS, model: str = "m", notes: list[str] | None = None) -> Path:
    return open_reference(
        rows, model_content=model, precision="fp32", folder=folder, load=loader, pad_id=1, batch=2,
        note=(notes if notes is not None else []).append,
    )  # fmt: skip


def test_computed_once_and_read_afterwards(tmp_path):
    loader = Loader()
    assert opened(tmp_path, loader) == opened(tmp_path, loader, rows=[*reversed(ROWS), ROWS[0]])
    assert loader.calls == 1


def test_holds_what_the_model_says_token_by_token(tmp_path):
    cache = read_references([opened(tmp_path, Loader())])
    ids = torch.tensor([[0, 5, 6, 7, 8]])
    expected = tiny_model()(input_ids=ids).logits.log_softmax(-1)[0, [1, 2, 3], [6, 7, 8]]
    torch.testing.assert_close(cache.row(ROWS[0]), expected, rtol=1e-5, atol=1e-5)


def test_a_missing_row_raises_and_the_border_is_part_of_a_row(tmp_path):
    cache = read_references([opened(tmp_path, Loader())])
    with pytest.raises(RunError, match="no log-probs"):
        cache.row(((0, 5, 6), (7,)))
    with pytest.raises(RunError, match="no log-probs"):
        cache.row(((0, 5, 6, 7), (8,)))


def test_two_entries_read_as_one(tmp_path):
    more = [((0, 7), (8, 9, 10))]
    cache = read_references([opened(tmp_path, Loader()), opened(tmp_path, Loader(), rows=more)])
    assert [len(cache.row(row)) for row in [*ROWS, *more]] == [3, 1, 2, 3]


def test_other_weights_other_entry_other_path_same_entry(tmp_path):
    assert reference_key(ROWS, model="a", precision="fp32") != reference_key(ROWS, model="b", precision="fp32")
    assert opened(tmp_path / "a", Loader()).name == opened(tmp_path / "b", Loader()).name


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_entry_is_noticed_and_made_again(tmp_path, damage):
    loader, notes = Loader(), []
    path = opened(tmp_path, loader) / "logps.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage == "flip" else whole[:40])
    opened(tmp_path, loader, notes=notes)
    assert loader.calls == 2
    assert path.read_bytes() == whole
    assert any("damaged" in note for note in notes)

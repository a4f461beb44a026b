"""Number of token ids that a model has input embeddings for."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.models.architecture import read_config
from bench.models.context import vocabulary_size
from bench.models.loading import OTHER_PARTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMES = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
"""Ends of the names that transformers' architectures give the table of input embeddings."""


def embedding_rows(folder: Path) -> int:
    """Return how many token ids the model of a folder has embeddings for: the rows of the table in its weights.

    Headers of the weights are read, not the weights. Where they have no such table, or several, the config decides.

    Raises:
        UsageError: a config or weights that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    rows: set[int] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as weights:
                names = weights.keys()
                tables = [name for name in names if name.endswith(NAMES) and not OTHER_PARTS.search(name)]
                rows.update(weights.get_slice(name).get_shape()[0] for name in tables)
        except (SafetensorError, OSError) as error:
            raise UsageError(f"{path} cannot be read: {error}", fix="save the model again") from error
    return rows.pop() if len(rows) == 1 else vocabulary_size(read_config(folder))


def embedded(model: "PreTrainedModel") -> int:
    """Return how many token ids a loaded model has embeddings for."""
    return int(model.get_input_embeddings().weight.shape[0])

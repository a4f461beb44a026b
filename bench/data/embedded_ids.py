"""Token ids that a model has embeddings for, and the refusal of others by row, field and token."""

from collections.abc import Sequence
from typing import Protocol

from bench.errors import UsageError


class Decoder(Protocol):
    """What is used of a tokenizer to name a token."""

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of ids."""
        ...


def refuse_beyond(ids: Sequence[int], tokenizer: Decoder, embeddings: int | None, *, where: str) -> None:
    """Raise UsageError for an id that the model has no embedding for; ``where`` names the row and the field.

    A tokenizer may know more tokens than its model: such an id would read beyond the table of embeddings, or crash.

    Args:
        embeddings: how many the model has; None where no model is known.
    """
    if embeddings is None or not ids or max(ids) < embeddings:
        return
    wrong = next(token for token in ids if token >= embeddings)
    raise UsageError(
        f"{where}: token {tokenizer.decode([wrong])!r} (id {wrong}) is beyond the model's {embeddings} embeddings",
        fix="take the token out of the text, use the tokenizer that the model was trained with, or give the model an "
        "embedding of each of its tokens (model.resize_token_embeddings(len(tokenizer)), then train it)",
    )

"""Several data sets in order: concatenation, a joint split by prompt, and the provenance of each."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.core.specs import SetSpec
from bench.data.split import PARTS, split_by_prompt
from bench.data.tokens import Encoded, Ids, encoded_of
from bench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Split:
    """Data by part: ``train``, ``validation``, ``test``. ``sets`` says what is trained on of each of several sets."""

    parts: Mapping[str, Encoded]
    sets: tuple[SetSpec, ...]

    @property
    def content(self) -> str:
        """The hash of what is trained on: of several sets their hashes in order, for their borders count too."""
        if not self.sets:
            return self.parts["train"].content_hash
        return hashlib.sha256("\n".join(["sets", *(each.content for each in self.sets)]).encode()).hexdigest()


def split_sets(sources: Sequence[str], sets: Sequence[Encoded], *, fractions: Sequence[float], seed: int) -> Split:
    """Join data sets in their order and split them by prompt: a prompt is in one part, whichever sets it stands in.

    Rows of ``train`` are those of the first set, then those of the second one, and so on. Of a single set ``sets`` is
    empty, and nothing differs from ``split_by_prompt``.

    Args:
        sources: a name for each set, for messages and records.

    Raises:
        UsageError: sets of pairs and of unpaired rows together, or a set of which nothing is left to train on.
    """
    whole = sets[0] if len(sets) == 1 else concatenate_sets(sources, sets)
    parts = dict(zip(PARTS, split_by_prompt(whole, fractions=fractions, seed=seed), strict=True))
    if len(sets) == 1:
        return Split(parts=parts, sets=())
    trained_on = {row.prompt_ids for row in parts["train"].rows}
    provenance = [_set_of(source, each, trained_on) for source, each in zip(sources, sets, strict=True)]
    return Split(parts=parts, sets=tuple(provenance))


def concatenate_sets(sources: Sequence[str], sets: Sequence[Encoded]) -> Encoded:
    """Return the rows of all sets, one set after another, with prompts numbered over all of them.

    Raises:
        UsageError: the sets are of two kinds.
    """
    kinds = {each.kind: source for source, each in zip(sources, sets, strict=True)}
    if len(kinds) > 1:
        mixture = " and ".join(f"{source} has {kind} rows" for kind, source in kinds.items())
        raise UsageError(f"data sets of two kinds: {mixture}", fix="give sets of pairs only, or of unpaired rows only")
    groups: dict[Ids, int] = {}
    rows = [replace(row, group=groups.setdefault(row.prompt_ids, len(groups))) for each in sets for row in each.rows]
    return encoded_of(rows, kind=sets[0].kind, eos_id=sets[0].eos_id, pad_id=sets[0].pad_id)


def _set_of(source: str, whole: Encoded, trained_on: set[Ids]) -> SetSpec:
    rows = [row for row in whole.rows if row.prompt_ids in trained_on]
    if not rows:
        raise UsageError(
            f"{source} leaves no prompt to train on: prompts are split over all sets together",
            fix="give a set with more prompts",
        )
    kept = encoded_of(rows, kind=whole.kind, eos_id=whole.eos_id, pad_id=whole.pad_id)
    return SetSpec(source=source, content=kept.content_hash, rows=len(rows))

"""Several data sets in order: concatenation, a joint split by prompt, and the provenance of each."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.core.specs import SetSpec
from bench.data.digests import Digests, among, ids_digests
from bench.data.split import PARTS, split_by_prompt
from bench.data.stored_tokens import NO_LIMIT, TokenRows
from bench.data.table import stored
from bench.data.tokens import Encoded, EncodedPair, EncodedSingle, Ids, encoded_of, taken
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
    provenance = [_set_of(source, each, parts["train"]) for source, each in zip(sources, sets, strict=True)]
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
    rows: Sequence[EncodedPair | EncodedSingle]
    if any(isinstance(each.rows, TokenRows) for each in sets):
        rows = _on_disk(sets)
    else:
        every = (row for each in sets for row in each.rows)
        rows = [replace(row, group=groups.setdefault(row.prompt_ids, len(groups))) for row in every]
    return encoded_of(rows, kind=sets[0].kind, eos_id=sets[0].eos_id, pad_id=sets[0].pad_id)


def without_prompts(rows: Encoded, other: Encoded) -> Encoded:
    """Return the rows whose prompt is none of the other's."""
    shared = _shared_prompts(rows, other)
    return taken(rows, np.flatnonzero(~shared)) if shared.any() else rows


def _shared_prompts(rows: Encoded, other: Encoded) -> NDArray[np.bool_]:
    """Return for each row whether its prompt is one of the other's."""
    if isinstance(rows.rows, TokenRows) or isinstance(other.rows, TokenRows):
        return among(prompt_digests(rows), prompt_digests(other))
    prompts = {row.prompt_ids for row in other.rows}
    return np.array([row.prompt_ids in prompts for row in rows.rows], dtype=bool)


def prompt_digests(encoded: Encoded) -> Digests:
    """Return the digest of each row's prompt, as ``TokenFile`` have it."""
    if isinstance(encoded.rows, TokenRows):
        return encoded.rows.prompts
    return ids_digests(row.prompt_ids for row in encoded.rows)


def _on_disk(sets: Sequence[Encoded]) -> TokenRows:
    """Return the rows of all sets as rows of files, those of small sets written to one."""
    every = [each.rows if isinstance(each.rows, TokenRows) else stored(each) for each in sets]
    limit = {each.limit for each in every if each.limit != NO_LIMIT} or {NO_LIMIT}
    if len(limit) > 1:
        raise ValueError(f"sets are cut to different lengths: {sorted(limit)}")
    shifts = np.cumsum([0, *(len(each.files) for each in every)])
    return TokenRows(
        tuple(file for each in every for file in each.files),
        np.concatenate([each.place for each in every]),
        file=np.concatenate([each.file + shift for each, shift in zip(every, shifts, strict=False)]),
        limit=limit.pop(),
    )


def _set_of(source: str, whole: Encoded, train: Encoded) -> SetSpec:
    kept = taken(whole, np.flatnonzero(_shared_prompts(whole, train)))
    if not kept.rows:
        raise UsageError(
            f"{source} leaves no prompt to train on: prompts are split over all sets together",
            fix="give a set with more prompts",
        )
    return SetSpec(source=source, content=kept.content_hash, rows=len(kept.rows))

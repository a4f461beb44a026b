"""Digests of texts and token ids in arrays, 16 bytes each: what is equal, what came first, what two sets share."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
"""A digest as an item that numpy sorts. Two of a million different texts are equal with a chance of 1e-27."""
Digests = NDArray[np.void]


def digest_of(content: bytes) -> bytes:
    """Return the digest of some content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def digests(contents: Iterable[bytes]) -> Digests:
    """Return the digests of contents, in their order."""
    return np.frombuffer(b"".join(map(digest_of, contents)), dtype=DIGEST)


def ids_digests(rows: Iterable[Sequence[int]]) -> Digests:
    """Return the digests of rows of token ids, in their order."""
    return digests(np.asarray(ids, dtype="<i4").tobytes() for ids in rows)


def first_places(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each number first stands, ascending."""
    return np.sort(np.unique(numbers, return_index=True)[1])


def first_seen(values: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (each value's number, from 0 in the order of first appearance; where each number first stands)."""
    order = np.lexsort((values["low"], values["high"]))  # stable: of equal ones the first stands first
    ordered = values[order]
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    firsts = order[starts]
    rank = np.empty(len(firsts), dtype=np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[order] = rank[np.cumsum(starts) - 1]
    return numbers, np.sort(firsts)


def among(values: Digests, others: Digests) -> NDArray[np.bool_]:
    """Return for each value whether it is one of the others."""
    both, firsts = first_seen(np.concatenate([others, values]))
    return firsts[both[len(others) :]] < len(others)

"""Near-duplicate texts: by normalised words and runs of words."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

NEAR_RUN = 3
WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """Return the text with case and white space evened out, compatible characters as one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """Return the words of the normalised text, without punctuation."""
    return WORD.findall(normalised(text))


def runs(text: str, *, length: int) -> frozenset[tuple[str, ...]]:
    """Return the distinct runs of ``length`` words; of a shorter text all its words as one run, of none nothing."""
    text_words = words(text)
    if not text_words:
        return frozenset()
    return frozenset(tuple(text_words[i : i + length]) for i in range(max(1, len(text_words) - length + 1)))


def near_duplicates(texts: Iterable[str], *, share: float) -> frozenset[int]:
    """Return the places (from 0) of texts of which an earlier, kept one has nearly all runs of three words.

    Nearly: the runs that both have are at least ``share`` of those that either has (Jaccard). Texts that are equal once
    normalised are equal here, but equal prompts with the same words are the same prompt and no duplicate: those stay.
    The comparison is exact, by an index of runs, not by hashes of samples.
    """
    index: dict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    near: set[int] = set()
    decided: dict[str, bool] = {}
    for place, text in enumerate(texts):
        if text in decided:  # another row of the same prompt goes where the first went
            if decided[text]:
                near.add(place)
            continue
        own_runs = runs(text, length=NEAR_RUN)
        shared: dict[int, int] = defaultdict(int)
        for run in own_runs:
            for other in index.get(run, ()):
                shared[other] += 1
        decided[text] = any(both >= share * (len(own_runs) + sizes[other] - both) for other, both in shared.items())
        if decided[text]:
            near.add(place)
            continue
        sizes[place] = len(own_runs)
        for run in own_runs:
            index[run].append(place)
    return frozenset(near)

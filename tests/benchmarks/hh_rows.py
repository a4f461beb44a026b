"""Made preference rows of about the lengths of HH-RLHF, as many as wanted: dialogues of one to six turns.

    python -m tests.benchmarks.hh_rows 1000000 rows.jsonl

Words are drawn by their frequency in the licence of this repository, a text that never changes, so that a tokenizer
meets words that it knows beside rare ones. Two in a hundred rows repeat the prompt of the row before, as HH does. The
rows of a seed are always the same ones.
"""

import argparse
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LICENSE = Path(__file__).parents[2] / "LICENSE"
MEAN_WORDS = {"question": 17, "answer": 45}
"""Words of a turn on average; lengths are geometric."""
REPEATED = 0.02
_AT_ONCE = 1 << 20


def rows(count: int, *, seed: int = 0) -> Iterator[dict[str, str]]:
    """Yield rows with the columns of HH-RLHF, ``chosen`` and ``rejected`` as whole dialogues."""
    rng = np.random.default_rng(seed)
    words = _words(rng)
    prompt = ""
    for _ in range(count):
        if not prompt or rng.random() >= REPEATED:
            turns = int(rng.integers(1, 4))
            parts = [f"\n\nHuman: {_turn(words, rng, 'question')}"]
            for _ in range(turns - 1):
                parts.append(f"\n\nAssistant: {_turn(words, rng, 'answer')}")
                parts.append(f"\n\nHuman: {_turn(words, rng, 'question')}")
            prompt = "".join(parts)
        sides = [f"{prompt}\n\nAssistant: {_turn(words, rng, 'answer')}" for _ in range(2)]
        if sides[0] != sides[1]:
            yield {"chosen": sides[0], "rejected": sides[1]}


def write(path: Path, count: int, *, seed: int = 0) -> None:
    """Write rows as JSONL."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(count, seed=seed):
            file.write(json.dumps(row) + "\n")


def _words(rng: np.random.Generator) -> Iterator[str]:
    counts = Counter(re.findall(r"[A-Za-z][a-z']+[,.?]?", LICENSE.read_text(encoding="utf-8")))
    names = np.array(list(counts))
    shares = np.fromiter(counts.values(), float) / sum(counts.values())
    while True:
        yield from names[rng.choice(len(names), size=_AT_ONCE, p=shares)].tolist()


def _turn(words: Iterator[str], rng: np.random.Generator, kind: str) -> str:
    count = int(rng.geometric(1 / MEAN_WORDS[kind]))
    return " ".join(itertools.islice(words, count + 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("path", type=Path)
    given = parser.parse_args()
    write(given.path, given.count)

"""The BLiMP subset of the sentiment suite: which items are drawn, and the lm-eval task that reads them."""

import hashlib
import json
import random
import tarfile
from pathlib import Path

from bench.errors import UsageError

ITEMS = "blimp.jsonl"
TASK = "blimp.yaml"
README = "README.md"
SETS = 67

TASK_TEXT = """\
# 67 sets of minimal pairs, a few items of each, asked as lm-eval's own blimp tasks ask them.
# data_files is relative: whoever loads this file makes it absolute.
task: blimp
dataset_path: json
dataset_kwargs:
  data_files:
    test: blimp.jsonl
output_type: multiple_choice
test_split: test
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{[sentence_good, sentence_bad]}}"
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

README_TEXT = """\
# A subset of BLiMP

`blimp.jsonl` holds {items} items of each of the {sets} sets of BLiMP, the Benchmark of Linguistic Minimal Pairs, drawn
with a fixed seed. Of each item the fields `sentence_good`, `sentence_bad` and `UID` (the name of its set) are kept;
nothing else is changed. `blimp.yaml` is a task for lm-eval that reads it; chance is 50 %.

## Attribution

Alex Warstadt, Alicia Parrish, Haokun Liu, Anhad Mohananey, Wei Peng, Sheng-Fu Wang and Samuel R. Bowman (2020):
BLiMP: The Benchmark of Linguistic Minimal Pairs for English. Transactions of the Association for Computational
Linguistics 8, 377-392. arXiv 1912.00582. <https://github.com/alexwarstadt/blimp>

Licence of the data: Creative Commons Attribution 4.0 International (CC BY 4.0),
<https://creativecommons.org/licenses/by/4.0/>.
"""


def texts_digest() -> str:
    """Return the SHA-256 of the texts that stand beside the items."""
    return hashlib.sha256((TASK_TEXT + README_TEXT).encode()).hexdigest()


def write_blimp(archive: Path, out: Path, *, items: int, seed: int) -> dict[str, object]:
    """Draw ``items`` of each set of ``archive`` (a tar.gz of one ``<set>.jsonl`` each); write items, task and README.

    Returns:
        What was drawn, and the SHA-256 of the archive.

    Raises:
        UsageError: the archive is absent, or does not hold the 67 sets.
    """
    if not archive.is_file():
        raise UsageError(f"{archive} is absent", fix="put BLiMP there as one tar.gz of its 67 jsonl files")
    sets: dict[str, list[dict[str, str]]] = {}
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            content = members.extractfile(member) if member.name.endswith(".jsonl") else None
            if content is not None:
                sets[Path(member.name).stem] = [json.loads(line) for line in content]
    if len(sets) != SETS:
        raise UsageError(f"{archive} holds {len(sets)} jsonl files", fix=f"BLiMP has {SETS} sets, one file each")
    lines = []
    for name in sorted(sets):
        # Seeded by the name too, so that the choice in one set does not hang on the others.
        for row in random.Random(f"{seed}/{name}").sample(sets[name], items):
            kept = {field: row[field] for field in ("sentence_good", "sentence_bad", "UID")}
            lines.append(json.dumps(kept, ensure_ascii=False))
    out.mkdir(parents=True, exist_ok=True)
    (out / ITEMS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / TASK).write_text(TASK_TEXT, encoding="utf-8")
    (out / README).write_text(README_TEXT.format(items=items, sets=SETS), encoding="utf-8")
    return {
        "sets": SETS,
        "items_per_set": items,
        "seed": seed,
        "archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }

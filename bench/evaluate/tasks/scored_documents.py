"""What lm-eval gave each document of a task, and the file that keeps it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.evaluate.tasks.clusters import cluster_field, cluster_labels, digest
from bench.utils.files import write_bytes_whole

if TYPE_CHECKING:
    from lm_eval.result_schema import EvalResults

FOLDER = "tasks"
"""The folder beside a record, or beside ``tasks.json``, with a file for each task."""
KEPT = ("doc_id", "filter", "target", "filtered_resps", "doc_hash", "prompt_hash", "target_hash")
"""Fields of lm-eval's samples that are kept, besides the value of each metric; documents and prompts are not ours."""
DocumentRow = dict[str, object]


def documents_of(results: EvalResults) -> dict[str, list[DocumentRow]]:
    """Return a row for each document and filter, by task: ``KEPT``, ``metrics`` by name, and ``cluster``.

    ``cluster`` is equal for documents that share a passage, activity, … and absent where each stands alone.
    """
    samples: Mapping[str, Sequence[Mapping[str, object]]] = results.get("samples") or {}
    rows: dict[str, list[DocumentRow]] = {}
    for task, each in samples.items():
        clusters = _clusters(task, each, results)
        rows[task] = [_row(sample) | clusters.get(sample["doc_id"], {}) for sample in each]
    return rows


def _clusters(
    task: str, samples: Sequence[Mapping[str, object]], results: EvalResults
) -> dict[object, dict[str, object]]:
    """Return the cluster of each document by its number."""
    documents = {sample["doc_id"]: sample.get("doc") for sample in samples}
    known = [document if isinstance(document, Mapping) else {} for document in documents.values()]
    field = cluster_field([results["configs"].get(task, {})])
    _, labels = cluster_labels(known, [task] * len(known), field=field)
    return {number: {"cluster": digest(label)} for number, label in zip(documents, labels, strict=False)}


def _row(sample: Mapping[str, object]) -> DocumentRow:
    names = sample["metrics"]
    assert isinstance(names, list)
    return {**{name: sample.get(name) for name in KEPT}, "metrics": {name: sample[name] for name in names}}


def write_documents(folder: Path, documents: Mapping[str, Sequence[DocumentRow]]) -> list[Path]:
    """Write ``FOLDER/TASK.jsonl.gz`` below ``folder`` for each task, whole or not at all; equal rows give equal bytes.

    Raises:
        RunError: a file cannot be written.
    """
    from lm_eval.utils import handle_non_serializable

    paths = []
    for task, rows in documents.items():
        text = "".join(json.dumps(row, ensure_ascii=False, default=handle_non_serializable) + "\n" for row in rows)
        path = folder / FOLDER / f"{_file_name(task)}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        # No time stamp in the gzip header: the bytes depend on the rows alone.
        write_bytes_whole(path, gzip.compress(text.encode(errors="surrogatepass"), mtime=0))
        paths.append(path)
    return paths


def _file_name(task: str) -> str:
    """Return a task's name as a file's, with a hash where it is not one, so that two never share a file."""
    plain = re.sub(r"[^\w.+-]+", "-", task)
    return plain if plain == task else f"{plain}-{hashlib.sha256(task.encode()).hexdigest()[:8]}"

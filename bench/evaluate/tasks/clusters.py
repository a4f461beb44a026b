"""Clusters of a task's documents: which of them share a passage, a template, an activity or a subject."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

Document = Mapping[str, object]

KINDS = ("UID", "activity_label", "subject", "category", "title")
"""Fields that say of what kind a document is: BLiMP's set, HellaSwag's activity, MMLU's subject, SQuAD's article."""
PASSAGES = ("passage", "context", "article", "paragraph", "story", "source_id", "section_id", "passage_id", "story_id")
"""Fields that say which text several documents are about, or hold that text."""
LEAST = 10
"""Kinds are clusters from this many on. Fewer are parts of a fixed whole, and too few to estimate a variance from."""
TEXT = 20
"""Characters from which a text that documents share, in whatever field, counts as a passage (the median of a field)."""
MOST = 0.5
"""A value of more than this share of the documents is no passage: an instruction that most have, or an empty text."""
SUBTASK = "task"
"""What documents of a cluster share where it is the task within its group."""


def cluster_labels(documents: Sequence[Document], tasks: Sequence[str], *, field: str | None) -> tuple[str, list[str]]:
    """Return what documents of a cluster share, a field's name, and each document's cluster; ("", []) of none.

    Where several fields group the documents, the one with the fewest clusters counts: clusters that are too large leave
    intervals honest and wider, those that are too small do not. In a group with fewer than ``LEAST`` tasks, clusters do
    not cross tasks.

    Args:
        tasks: each document's task within its group; one task for all where there is none.
        field: the field that a task's own ``metadata: {cluster: FIELD}`` names; "" for documents that stand alone.
    """
    if field == "":
        return "", []
    if field is not None:
        return field, [_label(task, document, field) for task, document in zip(tasks, documents, strict=True)]
    candidates: dict[str, list[str]] = {}
    if len(set(tasks)) >= LEAST:
        candidates[SUBTASK] = list(tasks)
    for name in sorted({name for document in documents for name in document}):
        values = [document.get(name) for document in documents]
        if _groups(name, values):
            candidates[name] = [_label(task, document, name) for task, document in zip(tasks, documents, strict=True)]
    if not candidates:
        return "", []
    shared = min(candidates, key=lambda name: (len(set(candidates[name])), name))
    return shared, candidates[shared]


def cluster_field(configs: Sequence[Mapping[str, object]]) -> str | None:
    """Return the field that the settings of all these tasks name in ``metadata: {cluster: FIELD}``; None without."""
    fields = {(config.get("metadata") or {}).get("cluster") for config in configs}  # type: ignore[attr-defined]
    field = fields.pop() if len(fields) == 1 else None
    return field if isinstance(field, str) else None


def digest(label: str) -> str:
    """Return a short hash of a cluster's label: documents are not ours to copy."""
    return hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()[:8]


def _label(task: str, document: Document, field: str) -> str:
    return f"{task}\n{json.dumps(document.get(field), default=str)}"


def _groups(name: str, values: Sequence[object]) -> bool:
    """Return whether a field's values say which documents belong together."""
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
        return False
    counted = Counter(values)
    distinct = len(counted)
    if not 1 < distinct < len(values) or max(counted.values()) > MOST * len(values):
        return False
    if name in PASSAGES:
        return True
    long = all(isinstance(value, str) for value in values) and median(len(str(value)) for value in values) >= TEXT
    return distinct >= LEAST and (name in KINDS or long)

"""Judge by a Bradley-Terry reward on the words of an answer, fitted on preferences."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.evaluate.judges.base import Judge
from bench.evaluate.judges.reward_model import scored_judge

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

Array = NDArray[np.float64]
VERSION = 1
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the ridge, of which cross-validation takes one."""
FOLDS = 5
NAME = "fitted"


@dataclass(frozen=True, kw_only=True)
class LabelledAnswers:
    """What a reward is fitted on: answers, and for each prompt (by a number of its own) which of them are preferred.

    ``worse`` is empty where answers stand alone; ``desirable`` then says of each whether it is wanted.
    """

    prompts: Sequence[int]
    better: Sequence[str]
    worse: Sequence[str] = ()
    desirable: Sequence[bool] = ()


def fitted_judge(labelled: LabelledAnswers, *, source: str, name: str = NAME) -> Judge:
    """Return a judge by a reward r(answer), nats, with P(a ≻ b) = σ(r(a) − r(b)) fitted to preferences.

    r is linear in the answer's words and pairs of words (TF-IDF, sublinear, length 1), so that length as such is worth
    nothing. Of unpaired answers P(desirable) = σ(r). The ridge is chosen by cross-validation over prompts. It sees no
    prompt, and knows what the preferences say, no more: judge a policy by it on prompts of its own, beside another.

    Raises:
        UsageError: too few answers, or none that differ in words.
    """
    if len(set(labelled.prompts)) < FOLDS or (labelled.desirable and len(set(labelled.desirable)) < 2):
        raise UsageError(
            f"judge {name}: {source} has {len(set(labelled.prompts))} prompts"
            f"{'' if not labelled.desirable else ' and needs wanted and unwanted answers'}: too little to fit a reward",
            fix=f"give at least {FOLDS} prompts, or another judge with --judge",
        )
    vectorizer, weights = _fit(labelled, source=source, name=name)

    def score(texts: Sequence[tuple[str, str]]) -> Array:
        return np.asarray(vectorizer.transform([answer for _, answer in texts]) @ weights, dtype=np.float64)

    content = [NAME, VERSION, list(labelled.prompts), list(labelled.better), list(labelled.worse)]
    content += [list(map(bool, labelled.desirable))]
    return scored_judge(name, score, identity=hashlib.sha256(json.dumps(content).encode()).hexdigest())


def judge_fitted_on(path: Path, *, name: str | None = None) -> Judge:
    """Return a judge fitted on a file of preferences in any format that is known. Raises UsageError as reading does."""
    from bench.data.preferences import read_preferences
    from bench.data.rows import Pair, words_of

    rows = read_preferences(path).rows
    numbers: dict[str, int] = {}
    prompts = [numbers.setdefault(json.dumps(row.prompt), len(numbers)) for row in rows]
    pairs = [row for row in rows if isinstance(row, Pair)]
    singles = [row for row in rows if not isinstance(row, Pair)]
    labelled = LabelledAnswers(
        prompts=prompts,
        better=[words_of(row.chosen).strip() for row in pairs] or [words_of(row.completion).strip() for row in singles],
        worse=[words_of(row.rejected).strip() for row in pairs],
        desirable=[row.label for row in singles],
    )
    return fitted_judge(labelled, source=str(path), name=name or path.name.partition(".")[0])


def _fit(labelled: LabelledAnswers, *, source: str, name: str) -> tuple["TfidfVectorizer", Array]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, max_features=2**16)
    try:
        vectorizer.fit([*labelled.better, *labelled.worse])
    except ValueError as error:  # no word is left
        raise UsageError(f"judge {name}: {source}: {error}", fix="give another judge with --judge") from error
    rows = vectorizer.transform(labelled.better)
    if labelled.worse:
        rows = rows - vectorizer.transform(labelled.worse)
    # A pair counts half from either side: as many ones as zeros, so that there is no intercept to fit.
    labels = np.ones(len(labelled.better)) if labelled.worse else np.array(labelled.desirable, dtype=np.float64)
    groups = np.array(labelled.prompts)
    chosen = max(STRENGTHS, key=lambda strength: _likelihood(rows, labels, groups, strength, bool(labelled.worse)))
    return vectorizer, _weights(rows, labels, chosen, mirrored=bool(labelled.worse))


def _weights(rows: "csr_matrix", labels: Array, strength: float, *, mirrored: bool) -> Array:
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    if mirrored:
        rows, labels = vstack([rows, -rows]), np.concatenate([labels, 1.0 - labels])
    model = LogisticRegression(C=strength, fit_intercept=not mirrored, max_iter=1000)
    return np.asarray(model.fit(rows, labels).coef_[0], dtype=np.float64)


def _likelihood(rows: "csr_matrix", labels: Array, groups: NDArray[np.int64], strength: float, mirrored: bool) -> float:
    """Return the held-out log-likelihood over ``FOLDS`` parts that share no prompt."""
    from sklearn.model_selection import GroupKFold

    total = 0.0
    for train, held_out in GroupKFold(FOLDS).split(rows, groups=groups):
        if not mirrored and len(set(labels[train])) < 2:
            return -np.inf
        logits = rows[held_out] @ _weights(rows[train], labels[train], strength, mirrored=mirrored)
        total -= float(np.logaddexp(0.0, np.where(labels[held_out] > 0.5, -logits, logits)).sum())
    return total

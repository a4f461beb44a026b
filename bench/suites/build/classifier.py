"""The training of the gold reward's classifier: features, selection, rounding, and what it scores on test."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as dump_tensors
from scipy.sparse import csr_matrix, vstack
from transformers import PreTrainedTokenizerBase

from bench.errors import RunError
from bench.evaluate.gold_reward import DESCRIPTION, FORMAT, WEIGHTS, load_gold, vocabulary_digest
from bench.suites.build.corpus import Review

# Contractions stay one word («don't», «wasn't»), so that a bigram can carry a negation; a lone letter is a word too.
TOKEN_PATTERN = r"\w+(?:'\w+)?|[!?]"
SHORTEST_SNIPPET = 16


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """Everything that decides the classifier."""

    minimum_reviews: int = 3
    features: tuple[int, ...] = (30_000, 60_000)
    inverse_penalty: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    ranking_inverse_penalty: float = 1.0
    review_weight: float = 2.0
    validation_share: float = 0.2
    snippet_tokens: int = 48
    required_accuracy: float = 0.90
    seed: int = 0


class Trial(TypedDict):
    """A number of features and a penalty, and the validation accuracies on whole reviews and on snippets."""

    features: float
    inverse_penalty: float
    whole: float
    snippet: float


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Whole reviews and their snippets: counts of n-grams ``[rows, features]``, labels and weights ``[rows]``."""

    counts: csr_matrix
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    review: NDArray[np.int64]
    whole: NDArray[np.bool_]


def train_classifier(
    train: Sequence[Review],
    test: Sequence[Review],
    out: Path,
    *,
    cut: Callable[[Sequence[str]], list[list[str]]],
    recipe: ClassifierRecipe,
    report: Callable[[str], None],
) -> dict[str, object]:
    """Train on labelled reviews and their snippets, write the two files of the gold reward into ``out``.

    The number of features and the penalty are chosen on a validation part of ``train`` (mean of the accuracies on
    whole reviews and on snippets); the accuracies on ``test`` are those of the stored, rounded weights.

    Args:
        cut: cuts each text into its snippets.

    Returns:
        What was chosen and measured: accuracies, and the spread of the reward on test snippets (nats).

    Raises:
        RunError: the accuracy on whole test reviews is below ``recipe.required_accuracy``.
    """
    grams, examples = _count(train, cut=cut, recipe=recipe)
    report(f"classifier: {len(grams)} n-grams, {len(examples.labels)} rows")
    held_out = _held_out(examples, recipe)
    ranked = _ranking(_subset(examples, ~held_out), recipe)
    trials: list[Trial] = []
    for size in recipe.features:
        kept = np.sort(ranked[:size])
        fit_on, check_on = _subset(examples, ~held_out, kept), _subset(examples, held_out, kept)
        for penalty in recipe.inverse_penalty:
            idf, weight, bias = _fit(fit_on, inverse_penalty=penalty)
            right = (_tfidf(check_on.counts, idf) @ weight + bias > 0) == (check_on.labels == 1)
            whole, snippet = float(right[check_on.whole].mean()), float(right[~check_on.whole].mean())
            trials.append(
                {"features": float(size), "inverse_penalty": float(penalty), "whole": whole, "snippet": snippet}
            )
            report(f"classifier: {size} features, C {penalty}: validation {whole:.4f} whole, {snippet:.4f} snippets")
    best = max(trials, key=lambda trial: trial["whole"] + trial["snippet"])
    kept = np.sort(_ranking(examples, recipe)[: int(best["features"])])
    idf, weight, bias = _fit(
        _subset(examples, np.ones(len(held_out), bool), kept), inverse_penalty=best["inverse_penalty"]
    )
    description = _write(out, vocabulary=[grams[i] for i in kept], idf=idf, weight=weight, bias=bias)
    measured = measure(out, test, cut=cut)
    if measured["whole"] < recipe.required_accuracy:
        raise RunError(
            f"classifier: accuracy on {len(test)} whole test reviews is {measured['whole']:.4f}, "
            f"required is {recipe.required_accuracy}",
            fix="widen the recipe's features or inverse_penalty, or check the labels of the corpus",
        )
    facts: dict[str, object] = {"recipe": asdict(recipe), "chosen": best, "trials": trials, "test": measured}
    (out / DESCRIPTION).write_text(_json(description | {"chosen": best, "test": measured}))
    report(f"classifier: test {measured['whole']:.4f} whole, {measured['snippet']:.4f} snippets")
    return facts


def measure(
    folder: Path, reviews: Sequence[Review], *, cut: Callable[[Sequence[str]], list[list[str]]]
) -> dict[str, float]:
    """Score the stored classifier: accuracy on whole reviews and on snippets, mean and spread of the reward (nats)."""
    gold = load_gold(folder)
    labels = np.array([review.label for review in reviews])
    pieces = cut([review.text for review in reviews])
    owner = np.repeat(np.arange(len(reviews)), [len(snippets) for snippets in pieces])
    whole = gold.score([review.text for review in reviews])
    snippet = gold.score([piece for snippets in pieces for piece in snippets])
    return {
        "whole": float(((whole > 0) == (labels == 1)).mean()),
        "snippet": float(((snippet > 0) == (labels[owner] == 1)).mean()),
        "reviews": float(len(whole)),
        "snippets": float(len(snippet)),
        "whole_reward_std": float(whole.std()),
        "snippet_reward_mean": float(snippet.mean()),
        "snippet_reward_std": float(snippet.std()),
        "snippet_share_positive": float((snippet > 0).mean()),
    }


def cutter(tokenizer: PreTrainedTokenizerBase, *, tokens: int) -> Callable[[Sequence[str]], list[list[str]]]:
    """Return a function that cuts each text into snippets of ``tokens`` tokens; a short rest is dropped."""

    def cut(texts: Sequence[str]) -> list[list[str]]:
        cuts: list[list[str]] = []
        for start in range(0, len(texts), 2000):
            for ids in tokenizer(list(texts[start : start + 2000]), add_special_tokens=False)["input_ids"]:
                pieces = [ids[at : at + tokens] for at in range(0, len(ids), tokens)]
                long = [piece for piece in pieces if len(piece) >= SHORTEST_SNIPPET]
                cuts.append(tokenizer.batch_decode(long or pieces[:1]))
        return cuts

    return cut


def _count(
    reviews: Sequence[Review], *, cut: Callable[[Sequence[str]], list[list[str]]], recipe: ClassifierRecipe
) -> tuple[list[str], _Examples]:
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [review.text for review in reviews]
    pieces = cut(texts)
    labels = np.array([review.label for review in reviews], dtype=np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(snippets) for snippets in pieces])
    counter = CountVectorizer(
        token_pattern=TOKEN_PATTERN, ngram_range=(1, 2), min_df=recipe.minimum_reviews, dtype=np.float64
    )
    whole = counter.fit_transform(texts)
    parts = counter.transform(piece for snippets in pieces for piece in snippets)
    weights = np.concatenate([np.full(len(texts), recipe.review_weight), np.ones(len(owner))])
    return list(counter.get_feature_names_out()), _Examples(
        counts=vstack([whole, parts]).tocsr(),
        labels=np.concatenate([labels, labels[owner]]),
        weights=weights,
        review=np.concatenate([np.arange(len(texts)), owner]),
        whole=np.arange(len(weights)) < len(texts),
    )


def _held_out(examples: _Examples, recipe: ClassifierRecipe) -> NDArray[np.bool_]:
    reviews = int(examples.whole.sum())
    drawn = np.random.default_rng(recipe.seed).permutation(reviews)[: round(reviews * recipe.validation_share)]
    return np.isin(examples.review, drawn)


def _subset(examples: _Examples, rows: NDArray[np.bool_], columns: NDArray[np.int64] | None = None) -> _Examples:
    counts = examples.counts[rows]
    return _Examples(
        counts=counts if columns is None else counts[:, columns],
        labels=examples.labels[rows],
        weights=examples.weights[rows],
        review=examples.review[rows],
        whole=examples.whole[rows],
    )


def _ranking(examples: _Examples, recipe: ClassifierRecipe) -> NDArray[np.int64]:
    idf, weight, _ = _fit(examples, inverse_penalty=recipe.ranking_inverse_penalty)
    return np.argsort(-np.abs(weight * idf), kind="stable")


def _fit(examples: _Examples, *, inverse_penalty: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit on idf already rounded to float16, and round the weights: what is measured is what is stored."""
    from sklearn.linear_model import LogisticRegression

    documents = np.asarray((examples.counts > 0).sum(axis=0)).ravel()
    idf = (np.log((1 + len(examples.labels)) / (1 + documents)) + 1).astype(np.float16).astype(np.float64)
    fitted = LogisticRegression(C=inverse_penalty, max_iter=300, tol=1e-6)
    fitted.fit(_tfidf(examples.counts, idf), examples.labels, sample_weight=examples.weights)
    return idf, fitted.coef_[0].astype(np.float16).astype(np.float64), float(np.float32(fitted.intercept_[0]))


def _tfidf(counts: csr_matrix, idf: NDArray[np.float64]) -> csr_matrix:
    from sklearn.preprocessing import normalize

    scaled = counts.copy()
    scaled.data = (1.0 + np.log(scaled.data)) * idf[scaled.indices]
    return normalize(scaled, copy=False)


def _write(
    out: Path, *, vocabulary: list[str], idf: NDArray[np.float64], weight: NDArray[np.float64], bias: float
) -> dict[str, object]:
    content = dump_tensors(
        {
            "idf": idf.astype(np.float16),
            "weight": weight.astype(np.float16),
            "bias": np.array([bias], dtype=np.float32),
        }
    )
    description = {
        "format": FORMAT,
        "token_pattern": TOKEN_PATTERN,
        "lowercase": True,
        "ngram_range": [1, 2],
        "sha256": {WEIGHTS: hashlib.sha256(content).hexdigest(), "vocabulary": vocabulary_digest(vocabulary)},
        "vocabulary": vocabulary,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(content)
    (out / DESCRIPTION).write_text(_json(description))
    return description


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

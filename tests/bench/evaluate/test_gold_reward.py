"""The gold reward: what it computes, what it does not depend on, and what it says of damaged files."""

import hashlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from bench.errors import RunError
from bench.evaluate.gold_reward import DESCRIPTION, WEIGHTS, Gold, load_gold, vocabulary_digest

ASSETS = Path(__file__).parents[3] / "bench" / "suites" / "sentiment" / "gold"
WORDS = ("good", "bad", "not", "film", "the", "!", "plot")


def write_gold(
    folder: Path, vocabulary: list[str], idf: list[float], weight: list[float], bias: float, **changes: object
) -> Path:
    folder.mkdir(exist_ok=True)
    content = save(
        {
            "idf": np.array(idf, np.float32),
            "weight": np.array(weight, np.float32),
            "bias": np.array([bias], np.float32),
        }
    )
    description = {
        "format": 1,
        "token_pattern": r"\w+(?:'\w+)?|[!?]",
        "lowercase": True,
        "ngram_range": [1, 2],
        "vocabulary": vocabulary,
        "sha256": {WEIGHTS: hashlib.sha256(content).hexdigest(), "vocabulary": vocabulary_digest(vocabulary)},
    } | changes
    (folder / WEIGHTS).write_bytes(content)
    (folder / DESCRIPTION).write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Gold:
    folder = tmp_path_factory.mktemp("gold")
    return load_gold(write_gold(folder, ["bad", "good", "not good"], [1.0, 2.0, 4.0], [-3.0, 3.0, -8.0], 0.25))


def test_score_is_the_hand_computed_logit(small: Gold) -> None:
    # «Good good not good»: good 3 times, "not good" once. tf = 1 + ln 3 and 1, times idf 2 and 4:
    # v = (2 + 2 ln 3, 4); logit = (3 v1 − 8 v2) / |v| + 0.25.
    first, second = 2 + 2 * math.log(3), 4.0
    expected = (3 * first - 8 * second) / math.hypot(first, second) + 0.25
    assert small.score(["Good good not good"])[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("text", ["", "  ", "unknown words", "…", "�"])
def test_a_text_without_known_words_scores_the_bias(small: Gold, text: str) -> None:
    assert small.score([text]).tolist() == [0.25]


def test_no_text_gives_an_empty_float64_vector(small: Gold) -> None:
    scores = small.score([])
    assert scores.shape == (0,)
    assert scores.dtype == np.float64


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=6))
def test_a_score_does_not_depend_on_the_other_texts(small: Gold, texts: list[str]) -> None:
    alone = [float(small.score([text])[0]) for text in texts]
    assert small.score(texts).tolist() == alone
    assert small.score(texts[::-1]).tolist() == alone[::-1]


def test_score_equals_scikit_learns_pipeline(tmp_path: Path) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice([*WORDS, "don't", "É"], size=draw.integers(1, 30))) for _ in range(80)]
    vectorizer = text.TfidfVectorizer(
        token_pattern=r"\w+(?:'\w+)?|[!?]", ngram_range=(1, 2), sublinear_tf=True, min_df=2
    )
    features = vectorizer.fit_transform(texts)
    fitted = linear.LogisticRegression(C=3.0).fit(features, ["good" in text for text in texts])
    gold = load_gold(
        write_gold(
            tmp_path,
            list(vectorizer.get_feature_names_out()),
            vectorizer.idf_.tolist(),
            fitted.coef_[0].tolist(),
            float(fitted.intercept_[0]),
        )
    )
    assert gold.score(texts) == pytest.approx(fitted.decision_function(features), abs=1e-5)


def _truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-3])


def _edit(**changes: object) -> object:
    def apply(folder: Path) -> None:
        path = folder / DESCRIPTION
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def _drop_vocabulary(folder: Path) -> None:
    path = folder / DESCRIPTION
    read = json.loads(path.read_text())
    del read["vocabulary"]
    path.write_text(json.dumps(read))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "SHA-256"),
        (lambda folder: (folder / WEIGHTS).unlink(), "cannot be read"),
        (lambda folder: (folder / DESCRIPTION).unlink(), "cannot be read"),
        (lambda folder: (folder / DESCRIPTION).write_text("{"), "is not JSON"),
        (lambda folder: (folder / DESCRIPTION).write_text("[]"), "states format None"),
        (_edit(format=2), "states format 2"),
        (_edit(vocabulary=["bad", "good"]), "does not match the SHA-256"),
        (_edit(token_pattern="("), "cannot be right"),
        (_edit(sha256={}), "cannot be right"),
        (_edit(ngram_range=[1]), "cannot be right"),
        (_drop_vocabulary, "lacks vocabulary"),
    ],
)
def test_damaged_files_are_refused_with_the_file_and_the_fault(tmp_path: Path, damage: object, message: str) -> None:
    folder = write_gold(tmp_path / "gold", ["bad", "good", "x"], [1.0, 1.0, 1.0], [-1.0, 1.0, 0.0], 0.0)
    load_gold(folder)
    damage(folder)
    with pytest.raises(RunError, match=message) as raised:
        load_gold(folder)
    assert str(folder) in raised.value.problem
    assert raised.value.fix


def test_weights_of_another_length_than_the_vocabulary_are_refused(tmp_path: Path) -> None:
    folder = write_gold(tmp_path, ["bad", "good"], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], 0.0)
    with pytest.raises(RunError, match=r"shape \[3\], the vocabulary has 2"):
        load_gold(folder)


def test_importing_the_gold_reward_loads_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, bench.evaluate.gold_reward; print(sorted({'torch', 'sklearn', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_suites_reward_tells_praise_from_blame() -> None:
    scores = load_gold(ASSETS).score(
        [
            "One of the best films I have ever seen, a wonderful cast and a beautiful story.",
            "The film opens in a house by the sea where a family spends the summer.",
            "A complete waste of time: the acting is awful and the plot makes no sense.",
            "I did not like it, it was not good at all.",
        ]
    )
    assert scores[0] > 2 > scores[1] > -2 > scores[2]
    assert scores[3] < 0


def test_the_suites_reward_states_at_least_ninety_percent_on_whole_test_reviews() -> None:
    measured = json.loads((ASSETS / DESCRIPTION).read_text())["test"]
    assert measured["whole"] >= 0.90
    assert measured["snippet"] >= 0.70


def test_four_thousand_snippets_take_less_than_a_second() -> None:
    gold = load_gold(ASSETS)
    draw = np.random.default_rng(0)
    words = np.array([gram for gram in gold.columns if " " not in gram])
    texts = [" ".join(draw.choice(words, size=45)) for _ in range(4000)]
    spent = []
    for _ in range(3):
        started = time.process_time()
        gold.score(texts)
        spent.append(time.process_time() - started)
    assert min(spent) < 1.0

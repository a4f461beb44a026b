"""Made-up documents in the columns of public data sets, and where the real ones lie where somebody has them."""

import json
import os
import random
import shutil
from pathlib import Path

import datasets
import pytest

from bench.core.assets import SUITES

STORIES = Path(__file__).parents[2] / "models" / "stories260K"
SENTIMENT = SUITES / "sentiment" / "model"
GSM8K = Path(__file__).parents[3] / "documents" / "gsm8k"
MULTIPLE_CHOICE = ("hellaswag_local", "arc_easy_local", "arc_challenge_local", "piqa_local", "winogrande_local")
WORDS = [
    *("the", "a", "little", "big", "red", "girl", "boy", "dog", "ball", "park", "mom", "wanted", "played", "said"),
    *("was", "happy", "sad", "very", "to", "with", "and", "in"),
]


def real_data() -> Path:
    """The folder of real documents, which are not ours to hand on."""
    folder = os.environ.get("LOSSBENCH_EVAL_DATA")
    if not folder:
        pytest.skip("LOSSBENCH_EVAL_DATA names no folder with HellaSwag, ARC, PIQA and WinoGrande")
    return Path(folder)


def write_documents(folder: Path, *, count: int = 24) -> Path:
    """Documents for every task of the package: as saved by ``datasets``, as jsonl and as parquet."""
    draw = random.Random(0)

    def text(least: int = 2, most: int = 12) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(least, most)))

    def arc() -> dict:
        count = draw.choice([3, 4, 4, 5])
        labels = list(draw.choice(["ABCDE", "12345"])[:count])
        choices = {"text": [text() for _ in labels], "label": labels}
        return {"id": "x", "question": text(4, 20) + "?", "choices": choices, "answerKey": draw.choice(labels)}

    def hellaswag() -> dict:
        endings = [f"{text()} [title] {text()} [step]." for _ in range(4)]
        start = {"activity_label": text(1, 3), "ctx_a": text(4, 20) + ".", "ctx_b": draw.choice(["", text(1, 3)])}
        return {**start, "endings": endings, "label": str(draw.randrange(4))}

    def piqa() -> dict:
        return {"goal": text(3, 15), "sol1": text(), "sol2": text(), "label": draw.randrange(2)}

    def winogrande() -> dict:
        sentence = f"{text()} _ {text()}."
        return {"sentence": sentence, "option1": text(1, 2), "option2": text(1, 2), "answer": draw.choice("12")}

    made = {
        "hellaswag/none/validation": hellaswag, "ai2_arc/ARC-Easy/validation": arc, "ai2_arc/ARC-Easy/test": arc,
        "piqa/plain_text/validation": piqa,
    }  # fmt: skip
    for place, make in made.items():
        datasets.Dataset.from_list([make() for _ in range(count)]).save_to_disk(folder / place)
    (folder / "ARC-Challenge").mkdir()
    datasets.Dataset.from_list([arc() for _ in range(count)]).to_parquet(
        folder / "ARC-Challenge" / "test-00000-of-00001.parquet"
    )
    (folder / "winogrande_xl").mkdir()
    write_lines(folder / "winogrande_xl" / "validation.jsonl", [winogrande() for _ in range(count)])
    shutil.copytree(GSM8K, folder / "gsm8k")
    blimp = [json.loads(line) for line in (SUITES / "sentiment" / "blimp" / "blimp.jsonl").read_text().splitlines()]
    (folder / "blimp").mkdir()
    for name in sorted({item["UID"] for item in blimp}):
        write_lines(folder / "blimp" / f"{name}.jsonl", [item for item in blimp if item["UID"] == name])
    return folder


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

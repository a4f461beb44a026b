"""The suite's own small model as a judge: what it is asked, and a folder of it that has a chat template."""

import json
import shutil
from pathlib import Path

import bench.suites

MODEL = Path(bench.suites.__file__).parent / "sentiment" / "model"
TEMPLATE = "{instruction}{output_1} and{output_2}. In a word, the first one was very"
ANSWERS = (" good", " bad")
"""Words that the model itself goes on with, each one token."""


def chat_model(folder, *, context=None):
    """Copy the model with a chat template that adds nothing to the text, for texts of up to ``context`` tokens."""
    shutil.copytree(MODEL, folder)
    if context is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": context}))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["chat_template"] = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    path.write_text(json.dumps(settings))
    return folder


def template_file(folder):
    path = folder / "very.txt"
    path.write_text(TEMPLATE)
    return path

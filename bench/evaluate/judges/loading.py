"""Loading a judge's model from a folder: on the accelerator where there is one, without a hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import RunError, UsageError

if TYPE_CHECKING:
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )


_shapes: ContextVar[bool] = ContextVar("shapes", default=False)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """For the block's time give models without weights, by their configuration alone, to plan what judges will take.

    Such a judge has its name, order and window; it cannot be asked.
    """
    before = _shapes.set(True)
    try:
        yield
    finally:
        _shapes.reset(before)


LAYER = re.compile(r"\.\d+\.")
"""A weight of a numbered layer; a head that another task uses may stay unused."""


def local_causal(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a causal LM and its tokenizer. Raises UsageError: no such folder; RunError: it cannot be loaded."""
    from transformers import AutoModelForCausalLM

    return _loaded(folder, AutoModelForCausalLM)


def local_classifier(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a sequence classifier with one or two outputs and its tokenizer.

    Raises:
        UsageError: no such folder, or a model with more outputs.
        RunError: it cannot be loaded, or was not trained as a classifier.
    """
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = _loaded(folder, AutoModelForSequenceClassification)
    if model.config.num_labels not in (1, 2):
        raise UsageError(
            f"reward model {folder} has {model.config.num_labels} outputs", fix="one is a reward; two are bad and good"
        )
    return model, tokenizer


def model_identity(folder: Path) -> str:
    """Return the hash of the folder's weights, config and tokenizer."""
    from bench.models.loading import model_hash

    if _shapes.get():
        return ""
    return model_hash(folder)


def _loaded(
    folder: Path, kind: type[AutoModelForCausalLM | AutoModelForSequenceClassification]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch

    from bench.models.loading import OTHER_PARTS, find_model, load_tokenizer

    if _shapes.get() and (folder / "config.json").is_file():
        from bench.models.architecture import read_config

        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return kind.from_config(read_config(folder)).eval(), load_tokenizer(folder)
    find_model(str(folder))
    cuda = torch.cuda.is_available()
    try:
        model, report = kind.from_pretrained(
            folder, dtype="auto" if cuda else torch.float32, local_files_only=True, output_loading_info=True
        )
    except Exception as error:
        raise RunError(
            f"judge {folder} cannot be loaded: {type(error).__name__}: {error}", fix="save the model again"
        ) from error
    if report["missing_keys"]:
        raise RunError(
            f"judge {folder}: {len(report['missing_keys'])} weights are missing, the first is "
            f"{sorted(report['missing_keys'])[0]}",
            fix="a reward model is a sequence classifier, a judge LM is a causal LM: this folder has another kind",
        )
    layers = sorted(name for name in report["unexpected_keys"] if LAYER.search(name) and not OTHER_PARTS.search(name))
    if layers:
        raise RunError(
            f"judge {folder}: {len(layers)} weights of its layers are not used, the first is {layers[0]}",
            fix="the checkpoint does not fit its config.json (number of layers, sizes): correct config.json",
        )
    return model.to("cuda" if cuda else "cpu").eval(), load_tokenizer(folder)

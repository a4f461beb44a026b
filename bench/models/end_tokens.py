"""The tokens that end what a model writes: EOS, its generation settings', its chat template's end of a turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.template import ends_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def end_ids(model: PreTrainedModel | Path, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids at which a model's text ends; wherever text is sampled, measured or cut, these count.

    They are the tokenizer's EOS, ``eos_token_id`` of the generation settings (one or several; transformers' own
    ``generate`` and vLLM end there), and the token that the chat template writes after an answer.

    Args:
        model: a model, or the folder of one, which gives the same.
    """
    return ends_of(tokenizer) | end_ids_of_settings(model)


def end_ids_of_settings(model: PreTrainedModel | Path) -> frozenset[int]:
    """Return ``eos_token_id`` of a model's generation settings, be it one, several or none."""
    own = _settings_of(model) if isinstance(model, Path) else getattr(model, "generation_config", None)
    return frozenset(_ids(getattr(own, "eos_token_id", None)))


def end_ids_kept(model: PreTrainedModel | Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...] | None:
    """Return ``end_ids`` as a spec keeps them, in order; None where EOS is the only one."""
    ends = end_ids(model, tokenizer)
    return None if ends == {tokenizer.eos_token_id} else tuple(sorted(ends))


def _settings_of(folder: Path) -> object:
    """Return the generation settings of a model's folder, as transformers fills them where it loads the model."""
    from transformers import AutoConfig, GenerationConfig

    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return GenerationConfig.from_model_config(config)


def _ids(value: object) -> list[int]:
    if value is None:
        return []
    if hasattr(value, "tolist"):
        value = value.tolist()
    ids = value if isinstance(value, list | tuple) else [value]
    return [each for each in ids if isinstance(each, int) and not isinstance(each, bool) and each >= 0]

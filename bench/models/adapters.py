"""LoRA adapters of a run: saving, loading, and merging into the start model."""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.artifacts import Note, make_sound, verify_folder
from bench.core.specs import LoraSpec, RunSpec
from bench.errors import RunError, UsageError
from bench.models.architecture import first_line, read_config
from bench.models.files import copy_named_templates
from bench.models.loading import load_model, load_tokenizer, merged, model_hash, with_lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER, CHECKPOINT = "adapter", "checkpoint"
WEIGHTS, CONFIG, START = "adapter_model.safetensors", "adapter_config.json", "start.json"


def save_trained(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", run: Path, *, spec: RunSpec, start: Path
) -> None:
    """Write what was trained into a run's folder: ``adapter/`` for LoRA, else ``checkpoint/`` with all weights.

    Args:
        start: the folder of the start model, whose tokenizer and generation settings are copied; remembered beside the
            adapter as a hint for who merges it later.
    """
    from bench.models.loading import save_checkpoint, save_tokenizer

    if spec.train.lora is None:
        save_checkpoint(model, tokenizer, run / CHECKPOINT, start=start)
        return
    save_adapter(model, run / ADAPTER, base=spec.model.source)
    save_tokenizer(tokenizer, run / ADAPTER, start=start)
    hint = {"source": spec.model.source, "content": spec.model.content, "folder": str(start)}
    (run / ADAPTER / START).write_text(json.dumps(hint, indent=1) + "\n", encoding="utf-8")


def save_adapter(model: "PreTrainedModel", folder: Path, *, base: str) -> None:
    """Write a model's adapter as peft reads it. ``base`` is what its settings call the model under it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: each.detach().cpu().contiguous() for name, each in weights.items()}, folder / WEIGHTS)
    config = copy.copy(model.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])  # a set has another order in every process
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_trained(run: Path, start_model: "PreTrainedModel", *, spec: RunSpec) -> "PreTrainedModel":
    """Return the plain model that a finished run trained, on the device of ``start_model``, which is left as it is.

    Raises:
        RunError: the weights cannot be read, or do not fit the start model.
    """
    if not (run / ADAPTER).is_dir():
        return load_model(run / CHECKPOINT)
    return merged(with_adapter(copy.deepcopy(start_model), run, spec=spec)).eval()


def with_adapter(model: "PreTrainedModel", run: Path, *, spec: RunSpec) -> "PreTrainedModel":
    """Put a run's adapter on a model, which is changed. Its shape is what the run's spec says, not what a file says.

    Raises RunError where the adapter's weights are not exactly those of that shape.
    """
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    assert spec.train.lora is not None
    # The adapter begins with random numbers, which are replaced: whoever draws next must not notice.
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        adapted = with_lora(model, spec.train.lora, seed=spec.seed)
    path = run / ADAPTER / WEIGHTS
    try:
        weights = load_file(path)
    except Exception as error:  # safetensors has errors of its own, in Rust
        raise RunError(f"{path} cannot be read: {error}", fix=f"remove {run} and run it again") from error
    wanted = {
        name: each.shape for name, each in get_peft_model_state_dict(adapted, save_embedding_layers=False).items()
    }
    if wanted != {name: each.shape for name, each in weights.items()}:
        raise RunError(
            f"{path} does not fit its start model with lora.rank={spec.train.lora.rank}",
            fix=f"remove {run} and run it again",
        )
    set_peft_model_state_dict(adapted, weights)
    return adapted


def check_lora(folder: Path, lora: LoraSpec | None) -> None:
    """Raise UsageError where peft cannot adapt the model; only its shape is made, no weights are read."""
    if lora is None:
        return
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        try:
            with_lora(model, lora, seed=0)
        except Exception as error:  # peft has an error of its own for each reason
            raise UsageError(
                f"LoRA does not fit {type(model).__name__}: {first_line(error)}",
                fix="--set train.lora=false trains all weights",
            ) from error


def merged_run(run: Path, *, results: Path, start: Path, spec: RunSpec, note: Note) -> Path:
    """Return ``results/models/merged-<key>``, the plain model of a run that keeps its adapter; made where missing."""
    from bench.models.loading import save_model, save_tokenizer

    folder = results / "models" / f"merged-{run.name}"

    def write(partial: Path) -> None:
        model = merged(with_adapter(load_model(start), run, spec=spec))
        save_model(model, partial, start=start)
        save_tokenizer(load_tokenizer(run / ADAPTER), partial, start=run / ADAPTER)
        copy_named_templates(start, partial)  # which older runs did not keep
        note(f"run {run.name}: adapter and start model merged in {folder}")

    make_sound(folder, write, note=note)
    return folder


def read_run(run: Path) -> RunSpec:
    """Return the spec of a finished run, its files checked. Raises RunError: damaged; UsageError: it has no weights."""
    if not (run / ADAPTER).is_dir() and not (run / CHECKPOINT).is_dir():
        raise UsageError(f"run {run.name} diverged: it has no checkpoint", fix="choose another run")
    if problems := verify_folder(run, stage="train"):
        raise RunError(f"run {run.name} is damaged: {problems[0]}", fix=f"remove {run} and run it again")
    return RunSpec.model_validate_json((run / "spec.json").read_text(encoding="utf-8"))


def is_start(folder: Path, spec: RunSpec) -> bool:
    """Return whether a folder holds the start model of a run, by content."""
    return (folder / "config.json").is_file() and model_hash(folder) == spec.model.content

"""QLoRA: start models rounded to four bits, and four-bit loading for training on CUDA."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.artifacts import Note, make_sound
from bench.core.specs import Execution, LoraSpec, TrainSpec
from bench.errors import RunError, UsageError
from bench.models.files import copy_tokenizer
from bench.models.loading import load_model, model_hash, save_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

BLOCK = 64
"""Weights that share a scale, as bitsandbytes has it by default."""


def check_quantize(lora: LoraSpec | None, execution: Execution) -> None:
    """Refuse four bits where they cannot be trained on.

    Raises:
        UsageError: there is no CUDA device, bitsandbytes is not installed, or ranks would shard the weights.
    """
    import torch

    if lora is None or lora.quantize is None:
        return
    option = f"lora.quantize={lora.quantize}"
    if not torch.cuda.is_available() or (execution.device or "cuda").partition(":")[0] != "cuda":
        raise UsageError(
            f"{option} needs a CUDA device, and this run would be on the CPU",
            fix="leave it out: --set lora.rank=8 trains adapters on whole weights, also on a CPU",
        )
    if find_spec("bitsandbytes") is None:
        raise UsageError(
            f"{option} is made by bitsandbytes, which is not installed", fix="pip install 'lossbench[qlora]'"
        )
    if execution.shard != "ddp":
        raise UsageError(f"{option}: weights of four bits are not sharded", fix="--set execution.shard=ddp")


def rounded_folder(folder: Path, *, results: Path, note: Note) -> Path:
    """Return the folder of the model with every linear layer but the head rounded to nf4, in float32.

    Training in four bits computes with exactly these numbers, so reference, evaluation and merging take them too.
    """
    target = results / "models" / f"nf4-{model_hash(folder)[:16]}"
    make_sound(target, lambda partial: _round(folder, partial), note=note)
    return target


def load_four_bits(folder: Path, train: TrainSpec, *, device: "torch.device") -> "PreTrainedModel":
    """Load a rounded model with its layers in nf4. Raises RunError where their numbers are not the folder's."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        # Scales of eight bits would round a second time, and these layers would not be the folder's any more.
        bnb_4bit_use_double_quant=False,
        bnb_4bit_compute_dtype=torch.bfloat16 if train.precision == "bf16" else torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=config,
        dtype=torch.float32,
        device_map={"": device},
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    _check_same(model, folder)
    return model.eval()


def _round(folder: Path, partial: Path) -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    model = load_model(folder)
    with torch.no_grad():
        for weight in _layers(model).values():
            codes, scales = quantize_4bit(weight.contiguous(), blocksize=BLOCK, quant_type="nf4")
            weight.copy_(dequantize_4bit(codes, scales).to(weight.dtype))
    save_model(model, partial, start=folder)
    copy_tokenizer(folder, partial)


def _layers(model: "PreTrainedModel") -> dict[str, "torch.Tensor"]:
    """Return the weights of linear layers by name, but for the head's."""
    import torch

    head = model.get_output_embeddings()
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def _check_same(model: "PreTrainedModel", folder: Path) -> None:
    """Hold the layers' four bits against the folder: both roundings must be one."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from safetensors import safe_open

    layers = {f"{name}.weight": weight for name, weight in _layers(model).items()}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(layers.keys() & set(file.keys())):
                weight = layers[name]
                dequantized = dequantize_4bit(weight.data, getattr(weight, "quant_state", None)).to(
                    "cpu", torch.float32
                )
                if not torch.equal(dequantized, file.get_tensor(name).float()):
                    raise RunError(
                        f"{name} in four bits is not what {folder} holds",
                        fix="remove the folder and run the same command again",
                    )

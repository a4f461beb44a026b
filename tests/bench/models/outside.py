"""Runs in an environment without lossbench: what an exported folder says there, as JSON.

python outside.py MERGED ADAPTER BASE TASK.yaml FOLDER
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def lm_eval(arguments: str, folder: Path, task: Path) -> dict:
    """The numbers of lm_eval as a command."""
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"{arguments},dtype=float32"]
    command += ["--include_path", str(task.parent), "--tasks", task.stem, "--limit", "40", "--batch_size", "8"]
    command += ["--device", "cpu", "--output_path", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(next(folder.rglob("results*.json")).read_text())
    return {name.partition(",")[0]: value for name, value in results["results"][task.stem].items() if "acc" in name}


def main() -> None:
    """Load the model in both ways and score it in both."""
    merged, adapter, base, task, folder = map(Path, sys.argv[1:6])
    assert find_spec("bench") is None
    assert find_spec("losses") is None
    tokenizer, other = AutoTokenizer.from_pretrained(merged), AutoTokenizer.from_pretrained(adapter)
    ids = torch.tensor([tokenizer("Once upon a time, Lily had 2 cats.").input_ids])
    plain = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    start = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        one, two, zero = (model(ids).logits for model in (plain, adapted, start))
        folded = adapted.merge_and_unload()
        three = folded(ids).logits
    weights, theirs = plain.state_dict(), folded.state_dict()
    report = {
        "ids": ids[0].tolist(),
        "same_ids": other("Once upon a time, Lily had 2 cats.").input_ids == ids[0].tolist(),
        "template": other.chat_template == tokenizer.chat_template,
        "adapter_differs": float((one - two).abs().max()),
        "merged_by_peft_differs": float((one - three).abs().max()),
        "weights_equal": all(torch.equal(weights[name], theirs[name]) for name in weights),
        "trained": float((one - zero).abs().max()),
        "merged": lm_eval(f"pretrained={merged}", folder / "merged", task),
        "adapter": lm_eval(f"pretrained={base},peft={adapter},tokenizer={adapter}", folder / "adapter", task),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

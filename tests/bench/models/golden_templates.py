"""Writes ``golden_templates.json``: the ids of one dialogue by each named template, from transformers alone.

python -m tests.bench.models.golden_templates SMOLLM2_FOLDER

``stories260K`` is the tokenizer of this folder. ``SmolLM2`` is that of HuggingFaceTB/SmolLM2-135M-Instruct as it stands
in a folder of transformers (converted from the file SmolLM2-135M-Instruct.Q4_1.gguf, Apache-2.0); ``own`` is the
template that came with it. Nothing of this project takes part: ``AutoTokenizer`` and ``apply_chat_template`` write the
ids, from the files of templates as they are, with ``bos_token`` first for the tokenizer that begins texts with BOS.
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

HERE = Path(__file__).parent
TEMPLATES = HERE.parents[2] / "bench" / "models" / "chat_templates"
NAMES = ("chatml", "llama-3", "zephyr", "alpaca", "plain")
PROMPT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who has 2 cats?"},
    {"role": "assistant", "content": "Tom."},
    {"role": "user", "content": " And who has 10? \n"},
]
ANSWER = [{"role": "assistant", "content": "Lily has  10 cats."}]


def ids_of(tokenizer, template: str | None) -> dict[str, list[int]]:
    """The ids of the prompt, ready for an answer, and of the whole dialogue."""
    more = {"chat_template": template} if template is not None else {}
    return {
        "prompt": tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_dict=False, **more),
        "dialogue": tokenizer.apply_chat_template([*PROMPT, *ANSWER], return_dict=False, **more),
    }


if __name__ == "__main__":
    golden = {}
    for name, folder in (("stories260K", HERE / "stories260K"), ("SmolLM2", Path(sys.argv[1]))):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        begin = "{{- bos_token -}}" if tokenizer("a").input_ids[0] == tokenizer.bos_token_id else ""
        golden[name] = {
            each: ids_of(tokenizer, begin + (TEMPLATES / f"{each}.jinja").read_text(encoding="utf-8")) for each in NAMES
        }
        if tokenizer.chat_template is not None:
            golden[name]["own"] = ids_of(tokenizer, None)
    (HERE / "golden_templates.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")

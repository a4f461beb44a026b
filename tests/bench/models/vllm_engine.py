"""Runs in an environment with vLLM and without lossbench: what the engine says of an exported folder, as JSON.

python vllm_engine.py REQUEST.json ANSWER.json
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest


def main() -> None:
    """Generate greedily, score given texts, and render a dialogue."""
    assert find_spec("bench") is None
    wanted = json.loads(Path(sys.argv[1]).read_text())
    adapter = wanted["adapter"]
    engine = LLM(
        model=wanted["model"],
        tokenizer=adapter or wanted["model"],
        dtype="float32",
        max_model_len=256,
        enforce_eager=True,
        enable_lora=adapter is not None,
        max_lora_rank=8,
    )
    lora = None if adapter is None else LoRARequest("mine", 1, adapter)
    greedy = SamplingParams(temperature=0.0, max_tokens=wanted["tokens"], stop_token_ids=wanted["stop"])
    prompts = [{"prompt_token_ids": ids} for ids in wanted["prompts"]]
    made = [each.outputs[0] for each in engine.generate(prompts, greedy, lora_request=lora)]
    rows = [{"prompt_token_ids": [*prompt, *ids]} for prompt, ids in wanted["scored"]]
    # One by one: with an adapter, vLLM 0.32 on a CPU fails at the prompts' log-probs of several requests.
    scored = SamplingParams(max_tokens=1, prompt_logprobs=0)
    scores = [engine.generate([row], scored, lora_request=lora, use_tqdm=False)[0] for row in rows]
    chat = engine.chat(wanted["dialogues"], greedy, lora_request=lora)
    answer = {
        "tokens": [list(each.token_ids) for each in made],
        "texts": [each.text for each in made],
        "reasons": [each.finish_reason for each in made],
        "logps": [
            [each.prompt_logprobs[at][row[at]].logprob for at in range(len(prompt), len(row))]
            for each, (prompt, ids) in zip(scores, wanted["scored"], strict=True)
            for row in [[*prompt, *ids]]
        ],
        "rendered": [list(each.prompt_token_ids) for each in chat],
        "answers": [each.outputs[0].text for each in chat],
    }
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()

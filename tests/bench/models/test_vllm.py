"""Exported runs in vLLM's real engine: the texts, log-probs and dialogues that lossbench has."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from bench.core.samples import spoken
from bench.evaluate.sampling import sample
from bench.models.end_tokens import end_ids
from bench.models.export import export
from bench.models.loading import load_model, load_tokenizer
from tests.bench.models.chat_models import WORDS
from tests.bench.models.test_hand_over import finished

PYTHON = os.environ.get("LOSSBENCH_VLLM_PYTHON")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="LOSSBENCH_VLLM_PYTHON names no Python that has vLLM")
SIZES = {"hidden_size": 128, "intermediate_size": 192, "initializer_range": 0.1}  # the engine wants heads of 32
TOKENS = 24
DIALOGUES = [[{"role": "user", "content": f"{one} {two}"}] for one in WORDS[:4] for two in WORDS[6:11]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    settings = {"sizes": SIZES, "steps": 20, "learning_rate": 1e-2}
    return {
        "lora": finished(tmp_path_factory.mktemp("lora"), lora=0.0, **settings),
        "full": finished(tmp_path_factory.mktemp("full"), **settings),
    }


def asked(folder: Path, **wanted: object) -> dict:
    """What the engine answers, in a process that knows nothing of lossbench."""
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps(wanted))
    script = folder / "vllm_engine.py"
    script.write_text(Path(__file__).with_name("vllm_engine.py").read_text())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(PYTHON), str(script), str(request), str(answer)],
        capture_output=True, text=True, timeout=900, env=environment, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(answer.read_text())


def whole_characters(text: str) -> str:
    """Without bytes at the end that are no character yet, which the engine holds back."""
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(("run", "kind"), [("full", "merged"), ("lora", "merged"), ("lora", "adapter")])
def test_greedy_texts_are_ours_and_log_probs_within_a_thousandth(runs, tmp_path, run, kind):
    job = runs[run]
    folder = export(f"run:{job.spec.key}", tmp_path / kind, results=job.results, kind=kind, dtype="float32", note=print)
    whole = export(
        f"run:{job.spec.key}", tmp_path / "ours", results=job.results, kind="merged", dtype="float32", note=print
    )
    model, tokenizer = load_model(whole), load_tokenizer(folder)
    prompts = [tokenizer.apply_chat_template(t, add_generation_prompt=True, return_dict=False) for t in DIALOGUES]
    ends = end_ids(whole, tokenizer)
    made = sample(model, prompts, max_tokens=TOKENS, temperature=1e-6, seed=0, end_ids=ends)
    drawn = sample(model, prompts, max_tokens=TOKENS, temperature=1.0, seed=0, end_ids=ends)
    scored = list(zip(prompts, map(list, drawn.completions), strict=True))
    answer = asked(
        tmp_path,
        model=str(job.model if kind == "adapter" else folder),
        adapter=str(folder) if kind == "adapter" else None,
        # A base model's settings say nothing of the ends of its adapter.
        stop=sorted(ends) if kind == "adapter" else [],
        tokens=TOKENS, prompts=prompts, scored=scored, dialogues=DIALOGUES,
    )  # fmt: skip
    assert answer["rendered"] == prompts
    assert answer["tokens"] == list(map(list, made.completions))
    texts = tokenizer.batch_decode(spoken(made), skip_special_tokens=True)
    assert [whole_characters(text) for text in answer["texts"]] == [whole_characters(text) for text in texts]
    assert answer["answers"] == answer["texts"]
    assert [reason == "stop" for reason in answer["reasons"]] == list(made.ended)
    assert {completion[-1] for completion in made.completions} & ends
    worst = 0.0
    for (prompt, ids), theirs in zip(scored, answer["logps"], strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        ours = logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)
        worst = max(worst, float((ours - torch.tensor(theirs)).abs().max()))
    start = load_model(job.model)
    with torch.no_grad():
        moved = float((start(torch.tensor([prompts[0]])).logits - model(torch.tensor([prompts[0]])).logits).abs().max())
    print(f"{run} as {kind}: {len(prompts)} texts equal, log-probs at most {worst:.2g} nats apart; trained {moved:.2g}")
    assert worst < 1e-3 < moved

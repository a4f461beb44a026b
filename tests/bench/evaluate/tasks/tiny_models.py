"""Small models with the peculiarities on which evaluators disagree, saved as folders, and tasks that meet them."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}"
    "[{{ message['role'] }}] {{ message['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TEXT = (
    "north south river stone lamp paper cloud seven green walks sings under table house mouse after before again "
    "letter window garden winter summer bread cheese small tall round cold yes no why when"
)
WORDS = TEXT.split()
CONTEXT = 96
MODELS = ("bos", "no_bos", "window", "special", "template", "limits")
"""The tokenizer adds BOS; there is none (and text is cut as by SentencePiece); each layer sees twelve tokens; a special
token is among the ends; a chat template; limits, and an ordinary token among the ends, in ``generation_config``."""


def sentences(count: int, *, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        " ".join(draw.choices(WORDS, k=draw.randint(3, 18))) + draw.choice([".\n", "!", " Q:", ""])
        for _ in range(count)
    ]


def tokenizer_of(kind: str, *, bos: bool, template: str | None = None) -> PreTrainedTokenizerFast:
    """Byte-level BPE, or one that marks spaces as SentencePiece does (``marked``)."""
    raw = Tokenizer(models.BPE(unk_token=None))
    if kind == "marked":
        raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
        raw.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        alphabet = [*map(chr, range(32, 127)), "▁", "\n", "é", "☕"]
    else:
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(sentences(400, seed=1), trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>"} if bos or template else {}
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>", **names)
    made.chat_template = template
    return made


def save_model(name: str, folder: Path) -> Path:
    """Write one of ``MODELS`` below ``folder`` and return its folder. Weights are random and large."""
    tokenizer = tokenizer_of(
        "marked" if name == "no_bos" else "bytes",
        bos=name in ("bos", "window", "limits"),
        template=CHATML if name in ("template", "special") else None,
    )
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": CONTEXT, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(MODELS.index(name))
    if name == "window":
        model = MistralForCausalLM(MistralConfig(**shape, sliding_window=12))
    else:
        model = LlamaForCausalLM(LlamaConfig(**shape))
    draw = torch.Generator().manual_seed(MODELS.index(name) + 10)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
        model.lm_head.weight[: len(SPECIAL)] *= 1.6  # so that special tokens are drawn, too
    ends = {"special": [2, 4], "limits": [2, tokenizer.convert_tokens_to_ids("e"), 4]}
    model.generation_config.eos_token_id = ends.get(name, 2)
    if name == "limits":
        model.generation_config.update(max_new_tokens=23, do_sample=True, temperature=0.6, top_p=0.9)
    place = folder / name
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


GENERATION = {
    "plain": ("{{q}}", ["\n\n"], 40),
    "many": ("{{q}}", ["e", "st", "win", "r s"], 40),
    "special": ("{{q}}", ["<|im_end|>"], 40),
    "spanning": ("{{q}}", ["<|im_end|>s", "<|im_", "</s>\n"], 40),
    "border": ("Q: {{q}} Q:", ["Q:", "t", "\n"], 40),
    "space": ("{{q}} ", [" ", "\ufffd"], 40),
    "special_prompt": ("<s>{{q}}<|im_end|>", ["\n\n"], 40),
    "long": ("{{q}} {{q}} {{q}} {{q}}", ["☕", "é"], 70),
}
"""Prompt, stop strings and longest text of each task."""
TASK = """\
task: tiny_{name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {examples}}}}}
test_split: test
fewshot_split: train
output_type: generate_until
doc_to_text: {prompt}
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: {until}, do_sample: false, max_gen_toks: {tokens}}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""
CHOICE = """\
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {examples}}}}}
test_split: test
fewshot_split: train
description: "Say which.\\n"
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
metadata: {{version: 1}}
"""
ROLLING = """\
task: tiny_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{q}}}} {{{{q}}}} {{{{q}}}}"
metric_list: [{{metric: word_perplexity}}]
metadata: {{version: 1}}
"""


def write_tasks(folder: Path, *, count: int) -> tuple[str, ...]:
    """Write documents and task files; return the tasks' names."""
    for name, seed, many in (("test", 2, count), ("train", 3, 8)):
        draw = random.Random(seed)
        texts = sentences(many, seed=seed)
        texts[:2] = ["a", "é ☕ " + texts[1]]
        rows = [
            {"q": text, "a": draw.choice(WORDS), "choices": draw.sample(WORDS, k=3), "gold": draw.randrange(3)}
            for text in texts
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    places = {"data": folder / "test.jsonl", "examples": folder / "train.jsonl"}
    for name, (prompt, until, tokens) in GENERATION.items():
        text = TASK.format(name=name, prompt=json.dumps(prompt), until=json.dumps(until), tokens=tokens, **places)
        (folder / f"tiny_{name}.yaml").write_text(text)
    (folder / "tiny_choice.yaml").write_text(CHOICE.format(**places))
    (folder / "tiny_rolling.yaml").write_text(ROLLING.format(data=places["data"]))
    return (*(f"tiny_{name}" for name in GENERATION), "tiny_choice", "tiny_rolling")

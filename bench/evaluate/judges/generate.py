"""Answers of a checkpoint to instructions, by its chat template or as plain text."""

import json
from pathlib import Path

from bench.core.samples import spoken
from bench.data.embedded_ids import refuse_beyond
from bench.errors import UsageError
from bench.evaluate.judges.answers import Answers
from bench.utils.files import write_text_whole


def answers_of(
    source: str, questions: Answers, *, results: Path, tokens: int, temperature: float, seed: int
) -> Answers:
    """Sample one answer to each instruction of ``questions`` from the model ``source`` (a folder, or run:KEY).

    Args:
        tokens: the longest answer.
        temperature: 0 takes the likeliest token.
        seed: of the noise, which all models share (``bench.evaluate.sampling``).

    Raises:
        UsageError: no such model, or an instruction that does not fit its context, or with a token that it has no
            embedding for.
        RunError: the model cannot be loaded.
    """
    texts = answer_text(source, [[instruction] for instruction in questions.instructions], results=results,
                 tokens=tokens, temperature=temperature, seed=seed)  # fmt: skip
    return Answers(
        model=name_of(source),
        index=questions.index,
        instructions=questions.instructions,
        outputs=tuple(texts),
    )


def name_of(source: str) -> str:
    """Return what a model is called in tables: its folder's name, or its run's key."""
    return source.removeprefix("run:").rstrip("/").rpartition("/")[2]


def answer_text(
    source: str, dialogues: list[list[str]], *, results: Path, tokens: int, temperature: float, seed: int
) -> list[str]:
    """Return what the model says next in each dialogue (user, model, user, …). Raises as ``answers_of``."""
    import torch

    from bench.evaluate.judges.templates import prompt_ids
    from bench.evaluate.sampling import sample
    from bench.models.embedding_rows import embedded
    from bench.models.end_tokens import end_ids
    from bench.models.loading import load_model, load_tokenizer
    from bench.models.sources import resolve_model

    if temperature < 0:
        raise UsageError(f"--temperature must be at least 0 (got {temperature})", fix="0 takes the likeliest token")
    folder = resolve_model(source, results=results)
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    if torch.cuda.is_available():
        model = model.to("cuda")
    roles = ("user", "assistant")
    templated = getattr(tokenizer, "chat_template", None) is not None
    if templated:
        prompts = [
            prompt_ids(tokenizer, tuple((roles[turn % 2], text) for turn, text in enumerate(dialogue)))
            for dialogue in dialogues
        ]
    else:
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        encoded = tokenizer(["\n\n".join(dialogue) for dialogue in dialogues], add_special_tokens=False)["input_ids"]
        prompts = [[*begin, *ids] for ids in encoded]
    for number, ids in enumerate(prompts, start=1):
        refuse_beyond(ids, tokenizer, embedded(model), where=f"model {name_of(source)}, dialogue {number}")
    made = sample(
        model,
        prompts,
        max_tokens=tokens,
        temperature=temperature or 1e-6,
        seed=seed,
        end_ids=end_ids(model, tokenizer),
        batch=64,
    )
    return [str(text) for text in tokenizer.batch_decode(spoken(made), skip_special_tokens=True)]


def write_answers(path: Path, answers: Answers) -> None:
    """Write answers as alpaca-eval reads them, whole or not at all. Raises RunError."""
    rows = zip(answers.index, answers.instructions, answers.outputs, strict=True)
    records = [
        {"index": index, "instruction": instruction, "output": output, "generator": answers.model}
        for index, instruction, output in rows
    ]
    write_text_whole(path, json.dumps(records, ensure_ascii=False, indent=1) + "\n")

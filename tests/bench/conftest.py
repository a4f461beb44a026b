"""What the tests of the harness share: a tiny real Llama, token-id pairs, and a runner of the loop."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from bench.core.specs import DataSpec, Execution, LoraSpec, ModelSpec, RunSpec, SetSpec, TrainSpec
from bench.data.tokens import Encoded, EncodedPair
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_parts import Scoring
from bench.train.loop import Callbacks, Progress, train, version_of
from bench.train.training_reference import TrainingReference, open_references, read_training_reference
from losses import get
from tests.bench.real_sweeps import killed, whole

VOCABULARY = 48


def tiny_model(seed: int = 0) -> LlamaForCausalLM:
    """A Llama of two layers with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=1, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def tiny_pairs(count: int = 24, seed: int = 0) -> Encoded:
    """Pairs of ragged length in which the chosen completion has low token ids and the rejected one high ids."""
    draw = random.Random(seed)
    rows = tuple(
        EncodedPair(
            prompt_ids=(0, *(draw.randrange(2, VOCABULARY) for _ in range(draw.randint(1, 5)))),
            chosen_ids=(*(draw.randrange(2, 24) for _ in range(draw.randint(1, 9))), 0),
            rejected_ids=(*(draw.randrange(24, VOCABULARY) for _ in range(draw.randint(1, 9))), 0),
            score_gap=1.0,
            group=number // 2,
        )
        for number in range(count)
    )
    return Encoded(kind="pairs", rows=rows, eos_id=0, pad_id=1, content_hash=f"tiny-{count}-{seed}")


def tiny_spec(
    objective: str, *, seed: int = 0, params: dict[str, float] | None = None, sets: tuple[int, ...] = (), **changes: Any
) -> RunSpec:
    """A run of a few steps; ``sets`` are the rows of each data set, where the data are several."""
    values = {"steps": 6, "batch": 8, "learning_rate": 1e-2, "max_length": 32} | changes
    train = TrainSpec(**values)
    return RunSpec(
        version=version_of(train), suite="tiny", suite_version=1,
        data=DataSpec(
            kind="pairs", source="tiny", content="tiny", rows=24,
            sets=tuple(SetSpec(source="tiny", content=f"tiny-{n}", rows=rows) for n, rows in enumerate(sets)),
        ),
        model=ModelSpec(source="tiny", content="tiny"),
        objective=objective, objective_version=1, objective_content=None, params=get(objective).resolve(params or {}),
        train=train, seed=seed,
    )  # fmt: skip


def tiny_reference(model: Any, data: Encoded, spec: RunSpec, folder: Path) -> TrainingReference | None:
    """What training ``spec`` reads of the reference."""
    scoring = Scoring(
        model_content="tiny", precision=spec.train.precision, layout="padded", folder=folder,
        load=lambda: CompletionLogProbs(model), pad_id=data.pad_id,
    )  # fmt: skip
    return read_training_reference(open_references(data, spec, scoring))


@pytest.fixture
def run_loop(tmp_path: Path) -> Callable[..., tuple[Progress, Any]]:
    """Train the tiny model; returns the progress and the trained model."""

    def run(
        spec: RunSpec, *, micro_batch: int = 8, data: Encoded | None = None, checkpoint_every: int = 0,
        should_stop: Callable[[], bool] = lambda: False, state: Path | None = None, model: Any = None,
        start: Any = None, ends_early: Callable[[int], bool] = lambda step: False, gradient_checkpointing: bool = False,
        log_every: int = 1, watch_every: int = 10, layout: Literal["packed", "padded"] = "packed",
    ) -> tuple[Progress, Any]:  # fmt: skip
        data = data or tiny_pairs()
        start = start or tiny_model()
        reference = tiny_reference(start, data, spec, tmp_path / "reference")
        policy = model or tiny_model()
        if spec.train.lora is not None:
            from bench.models.loading import with_lora

            policy = with_lora(policy, spec.train.lora, seed=spec.seed)
        progress = train(
            policy, spec=spec, data=data, reference=reference,
            execution=Execution(
                micro_batch=micro_batch,
                checkpoint_every=checkpoint_every,
                gradient_checkpointing=gradient_checkpointing,
                log_every=log_every,
                watch_every=watch_every,
                layout=layout,
            ),
            accelerator=Accelerator(cpu=True), state=state or tmp_path / "state",
            callbacks=Callbacks(should_stop=should_stop, ends_early=ends_early),
        )  # fmt: skip
        return progress, policy

    return run


__all__ = ["LoraSpec", "killed", "tiny_model", "tiny_pairs", "tiny_reference", "tiny_spec", "whole"]

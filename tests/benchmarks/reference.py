"""What the reference of a study costs, scored for all rows of large data and for those that its trainings draw.

    python -m tests.benchmarks.reference

A made study: four β at one seed and three fresh seeds, 60 steps of 16 pairs each, on 20,000 pairs. CPU seconds of one
thread; the order of the two is that of the table.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.core.specs import TrainSpec
from bench.data.tokens import Encoded, encoded_of
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import open_reference, read_references
from bench.models.reference_parts import Scoring, open_parts, read_parts
from bench.train.drawn_rows import completions_of, joined, needs_of
from bench.train.objective_batch import rows_of
from bench.train.training_reference import blocks_of
from losses import get
from losses.schedule import frozen
from tests.benchmarks.material import EOS, PAD, draw_pairs

PAIRS, SEEDS = 20_000, (0, 1000, 1001, 1002)
TRAIN = TrainSpec(steps=60, batch=16, learning_rate=1e-4, max_length=128)
TRAININGS = 7
VOCABULARY = 1024


def model() -> LlamaForCausalLM:
    """Return a Llama of a million parameters."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=256, pad_token_id=PAD, bos_token_id=None, eos_token_id=EOS,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def timed(what: Callable[[], object]) -> float:
    """Return the CPU seconds of this process."""
    started = time.process_time()
    what()
    return time.process_time() - started


def all_rows(data: Encoded, scored: CompletionLogProbs, folder: Path) -> tuple[float, float]:
    """Return the seconds of the first opening and of one more, as each further training has it."""

    def opened() -> None:
        entry = open_reference(
            rows_of(data.rows), model_content="made", precision="fp32", folder=folder, load=lambda: scored,
            pad_id=PAD, batch=64, note=lambda text: None,
        )  # fmt: skip
        read_references([entry])

    return timed(opened), timed(opened)


def drawn(data: Encoded, scored: CompletionLogProbs, folder: Path) -> tuple[float, float, int]:
    """Return the same of the rows that the study draws, and how many completions these are."""
    scoring = Scoring(
        model_content="made", precision="fp32", layout="packed", folder=folder, load=lambda: scored, pad_id=PAD
    )
    each = {seed: needs_of(get("dpo"), frozen(), TRAIN, seed=seed, rows=len(data.rows), paired=True) for seed in SEEDS}
    needs = joined(need for one in each.values() for need in one)

    def opened(seeds: tuple[int, ...]) -> None:
        for seed in seeds:
            for need in each[seed]:
                read_parts(open_parts(blocks_of(need, data), scoring))

    return timed(lambda: opened(SEEDS)), timed(lambda: opened(SEEDS[:1])), completions_of(needs)


def main() -> None:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    pairs = draw_pairs(PAIRS, vocabulary=VOCABULARY, seed=0, prompt=24, response=(16, 48))
    data = encoded_of(pairs, kind="pairs", eos_id=EOS, pad_id=PAD)
    scored = CompletionLogProbs(model(), packed=True, longest=128)
    with tempfile.TemporaryDirectory() as folder:
        few, few_again, count = drawn(data, scored, Path(folder) / "drawn")
        print(f"drawn: {count:,} of {2 * PAIRS:,} completions, {few:.1f} s; each further training {few_again:.3f} s")
        print(f"  study of {TRAININGS} trainings: {few + (TRAININGS - len(SEEDS)) * few_again:.1f} s", flush=True)
        whole, again = all_rows(data, scored, Path(folder) / "all")
        print(f"all: {2 * PAIRS:,} completions, {whole:.1f} s; each further training {again:.3f} s")
        print(f"  study of {TRAININGS} trainings: {whole + (TRAININGS - 1) * again:.1f} s")


if __name__ == "__main__":
    main()

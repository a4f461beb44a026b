"""Owns what one rank of two holds of the training state under FSDP2: ``torchrun … -m tests.scaling.sharded SIZE``.

Prints bytes by parameter of the whole model: weights, gradient and moments of this rank's shards after one step.
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.core.specs import Execution, TrainSpec
from bench.models.logprobs import CompletionLogProbs
from bench.train.distributed.parallelize import clipped, join_ranks, share
from tests.benchmarks.material import BATCH, draw_pairs
from tests.benchmarks.shapes import shape_of


def main(size: str) -> None:
    """One step of plain likelihood on a random model; the first rank prints."""
    shape = shape_of(size)
    execution = Execution(processes=2, device="cpu", shard="fsdp2")
    accelerator = join_ranks(execution)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
        max_position_embeddings=shape.context, tie_word_embeddings=True,
    )  # fmt: skip
    scored = CompletionLogProbs(LlamaForCausalLM(config), packed=True)
    parameters = sum(p.numel() for p in scored.parameters())
    train = TrainSpec(steps=1, batch=BATCH, learning_rate=1e-4)
    policy, optimizer = share(scored, train=train, sharing="fsdp2", accelerator=accelerator)
    pairs = draw_pairs(2, vocabulary=shape.vocabulary, seed=0)
    rows = [(pair.prompt_ids, side) for pair in pairs for side in (pair.chosen_ids, pair.rejected_ids)]
    policy(scored.lay(rows, pad_id=1)).logps.sum().backward()
    clipped(policy, 1.0)
    held = sum(_bytes(p) + _bytes(p.grad) for p in policy.parameters())
    optimizer.step()
    held += sum(_bytes(x) for state in optimizer.state.values() for x in state.values() if x.ndim)
    if accelerator.is_main_process:
        print(held / parameters)
    torch.distributed.destroy_process_group()


def _bytes(tensor: torch.Tensor) -> int:
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local.numel() * local.element_size()


if __name__ == "__main__":
    main(sys.argv[1])

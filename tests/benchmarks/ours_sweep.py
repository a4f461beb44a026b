"""Owns our way from two files of text to scored models at several β, in this process: the seam to our sweep.

A sweep that trains its settings in another way replaces ``train_betas`` and nothing else.
"""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.nn.utils.rnn import pad_sequence

from bench.core.specs import Execution
from bench.data.collate import TokenRow
from bench.data.encode import encode
from bench.data.preferences import read_preferences
from bench.data.tokens import Encoded
from bench.models.loading import load_model, load_tokenizer
from bench.models.logprobs import CompletionLogProbs
from bench.models.matmul import take_route
from bench.models.reference_cache import ReferenceLogProbs, compute, open_reference, read_references
from bench.models.reference_parts import Scoring
from bench.runner.resources import Workers
from bench.train.loop import Callbacks, train
from bench.train.objective_batch import rows_of
from bench.train.training_reference import open_references, read_training_reference
from bench.utils.process import loading
from losses import Completion, Pairs, get
from tests.benchmarks.forked import forked
from tests.benchmarks.material import PAD
from tests.benchmarks.objectives import Precision, Run
from tests.benchmarks.ours import REFERENCE_BATCH, spec_of

OBJECTIVE = "dpo"


def train_betas(
    model: Path,
    *,
    train_file: Path,
    held_out_file: Path,
    betas: Sequence[float],
    batch: int,
    learning_rate: float,
    max_length: int,
    precision: Precision,
    work: Path,
    crew: Workers | None = None,
) -> list[dict[str, float]]:
    """One epoch of DPO at each β; the mean loss and the reward accuracy on held-out pairs of each, in order.

    The files are read, the start model is loaded, and its log-probs are computed once for all. With a crew of several,
    the settings are trained by forked workers, as ``bench run`` does it, and this process must have one thread.

    Args:
        batch: pairs per optimiser step.
        work: a folder for the reference's log-probs and states.
        crew: of one, unless given.
    """
    crew = crew or Workers(workers=1, threads=torch.get_num_threads())
    with loading():
        take_route()
        tokenizer = load_tokenizer(model)
        data, held_out = (
            encode(read_preferences(path), tokenizer, max_length=max_length) for path in (train_file, held_out_file)
        )
        start = load_model(model)
        accelerator = Accelerator(cpu=not torch.cuda.is_available())
    run = Run(
        model=model,
        pairs=data.pairs,
        objective=OBJECTIVE,
        params={"beta": betas[0]},
        learning_rate=learning_rate,
        max_length=max_length,
    )
    spec = spec_of(run, precision=precision, batch=batch)

    def scored() -> CompletionLogProbs:
        return CompletionLogProbs(copy.deepcopy(start).to(accelerator.device), packed=True)

    def compute_reference() -> tuple[tuple[Path, ...], Path]:
        folder, content = work / "reference", spec.model.content
        scoring = Scoring(
            model_content=content, precision=precision, layout="packed", folder=folder, load=scored, pad_id=PAD
        )
        return open_references(data, spec, scoring), open_reference(
            rows_of(held_out.rows),
            model_content=content,
            precision=precision,
            folder=folder,
            load=scored,
            pad_id=PAD,
            batch=REFERENCE_BATCH,
            note=lambda text: None,
        )

    def train_one(number: int) -> dict[str, float]:
        beta = betas[number]
        policy = copy.deepcopy(start).to(accelerator.device)
        train(
            policy,
            spec=spec.model_copy(update={"params": get(OBJECTIVE).resolve({"beta": beta})}),
            data=data,
            reference=reference,
            execution=Execution(),
            accelerator=accelerator,
            state=work / f"state-{number}",
            callbacks=Callbacks(),
        )
        return _score(policy, held_out, reference=of_held_out, beta=beta, precision=precision)

    alone = crew.workers == 1
    parts, entry = compute_reference() if alone else forked([compute_reference], crew)[0]
    reference, of_held_out = read_training_reference(parts), read_references([entry])
    tasks = [partial(train_one, number) for number in range(len(betas))]
    return [task() for task in tasks] if alone else forked(tasks, crew)


@torch.no_grad()
def _score(
    policy: torch.nn.Module, held_out: Encoded, *, reference: ReferenceLogProbs, beta: float, precision: Precision
) -> dict[str, float]:
    rows = list(rows_of(held_out.rows))
    found = compute(
        rows, CompletionLogProbs(policy, packed=True), pad_id=PAD, precision=precision, batch=REFERENCE_BATCH
    )
    half = len(rows) // 2
    pairs = Pairs(
        chosen=_side(found[:half], rows[:half], reference),
        rejected=_side(found[half:], rows[half:], reference),
        score_gap=None,
    )
    objective = get(OBJECTIVE)
    better = objective.reward_of(pairs.chosen) > objective.reward_of(pairs.rejected)
    return {"beta": beta, "loss": float(objective(pairs, beta=beta).mean()), "accuracy": float(better.float().mean())}


def _side(policy: list[torch.Tensor], rows: list[TokenRow], reference: ReferenceLogProbs) -> Completion:
    return Completion(
        policy_logps=pad_sequence(policy, batch_first=True),
        reference_logps=pad_sequence([reference.row(row) for row in rows], batch_first=True),
        mask=pad_sequence([torch.ones(len(values), dtype=torch.bool) for values in policy], batch_first=True),
    )

"""Owns every call of TRL: its trainers as they are, run step by step, and what they were given recorded.

Nothing of a trainer's computing is replaced. A subclass writes down each step's batch and loss; a callback tells when
a step ends. A step lasts from the end of the one before it (what others did in between left out) to that call: with
fetching and collating the batch, and with TRL's own logging.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging

from bench.data.tokens import EncodedPair, Ids
from tests.benchmarks.machine import now
from tests.benchmarks.material import BATCH, batches_of, texts_of
from tests.benchmarks.objectives import Compared, Run, compared

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # its CPO trainer, SimPO's, is among them

from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer

Mode = Literal["default", "fp32", "best"]
Row = dict[str, Any]
MODES: dict[Mode, dict[str, object]] = {
    "default": {},
    "fp32": {"bf16": False, "gradient_checkpointing": False},
    "best": {"bf16": True, "gradient_checkpointing": False},
}
"""``default``: bf16 and gradient checkpointing, as TRL sets them where the user says nothing. ``best``: bf16 without
checkpointing, and with the reference computed beforehand where there is one."""
TRAINERS = {"DPO": (DPOTrainer, DPOConfig), "KTO": (KTOTrainer, KTOConfig), "CPO": (CPOTrainer, CPOConfig)}


@dataclass(kw_only=True)
class Trace:
    """What TRL did: seconds and loss of each step, and its rows (prompt and completion), as token ids."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rows: list[list[Ids]] = field(default_factory=list)


def train(run: Run, *, mode: Mode, after_step: Callable[[int], None]) -> Trace:
    """One epoch over the pairs in their order; ``after_step(number)`` is called, untimed, after each step (from 0)."""
    logging.set_verbosity_error()
    disable_progress_bars()
    trace = Trace()
    with tempfile.TemporaryDirectory() as folder:
        trainer = _made(run, mode=mode, folder=folder, train=_texts(run), held_out=[])
        trainer.add_callback(_Clock(trainer, trace, after_step))
        trainer.train()
    return trace


def train_and_score(run: Run, *, mode: Mode, train: Path, held_out: Path) -> dict[str, float]:
    """One epoch of DPO over the lines of one file; then mean loss and reward accuracy on those of the other one."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _made(run, mode=mode, folder=folder, train=_lines(train), held_out=_lines(held_out))
        trainer.train()
        found = trainer.evaluate()
    return {"loss": found["eval_loss"], "accuracy": found["eval_rewards/accuracies"]}


def rows_of(inputs: dict[str, Any]) -> list[Ids]:
    """The rows of one of TRL's batches without padding: all chosen, then all rejected; for KTO its mismatched last."""
    if "chosen_input_ids" in inputs:
        return [row for side in ("chosen", "rejected") for row in _unpadded(inputs, f"{side}_")]
    rows = _unpadded(inputs, "")
    if "KL_input_ids" in inputs:
        return [*rows[::2], *rows[1::2], *_unpadded(inputs, "KL_")]
    return rows


def rows_expected(batch: Sequence[EncodedPair], run: Run) -> list[Ids]:
    """What ``rows_of`` has to be for these pairs."""
    rows = [pair.prompt_ids + pair.chosen_ids for pair in batch]
    rows += [pair.prompt_ids + pair.rejected_ids for pair in batch]
    if compared(run.objective).trainer == "KTO":
        prompts = [pair.prompt_ids for pair in batch for _ in range(2)]
        others = _mismatched(batch, run)
        rows += [prompt + other for prompt, other in zip(prompts, others, strict=True)]
    return rows


def _made(run: Run, *, mode: Mode, folder: str, train: list[Row], held_out: list[Row]) -> Any:
    chosen = compared(run.objective)
    base, config = TRAINERS[chosen.trainer]
    trainer = _recorded(base, run)(
        model=str(run.model),
        args=config(**_settings(run, chosen, mode=mode, folder=folder)),
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Clock(TrainerCallback):
    def __init__(self, trainer: Any, trace: Trace, after_step: Callable[[int], None]) -> None:
        self._trainer, self._trace, self._after_step = trainer, trace, after_step
        self._resumed = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._resumed = now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trace.seconds.append(now() - self._resumed)
        inputs, loss = self._trainer.seen
        self._trace.losses.append(float(loss))
        self._trace.rows.append(rows_of(inputs))
        self._after_step(len(self._trace.seconds) - 1)
        self._resumed = now()


def _recorded(base: type, run: Run) -> type:
    class Recorded(base):  # type: ignore[misc,valid-type]
        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
            loss = super().training_step(model, inputs, num_items_in_batch)
            self.seen = (inputs, loss)
            return loss

        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            prepared = super()._prepare_dataset(dataset, *args)
            if "KL_completion_ids" not in prepared.column_names:
                return prepared
            ours = [list(ids) for batch in batches_of(run.pairs) for ids in _mismatched(batch, run)]
            return prepared.remove_columns("KL_completion_ids").add_column("KL_completion_ids", ours)

    return Recorded


def _settings(run: Run, chosen: Compared, *, mode: Mode, folder: str) -> dict[str, object]:
    on_gpu = torch.cuda.is_available()
    before = {"precompute_ref_log_probs": True} if mode == "best" and chosen.reference else {}
    return {
        **chosen.config,
        "beta": run.params["beta"],
        **MODES[mode],
        **before,
        "output_dir": folder,
        "per_device_train_batch_size": BATCH * (2 if chosen.trainer == "KTO" else 1),
        "num_train_epochs": 1,
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": "constant",
        "max_length": run.max_length,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
    }


def _mismatched(batch: Sequence[EncodedPair], run: Run) -> list[Ids]:
    from tests.benchmarks.ours import baseline_completions  # only here, so that TRL alone does not load our training

    return baseline_completions(batch, max_length=run.max_length)


def _texts(run: Run) -> list[Row]:
    rows = [texts_of(pair) for pair in run.pairs]
    if compared(run.objective).trainer != "KTO":
        return list(rows)
    return [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in rows
        for side in ("chosen", "rejected")
    ]


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _unpadded(inputs: dict[str, Any], prefix: str) -> list[Ids]:
    ids, mask = inputs[f"{prefix}input_ids"], inputs[f"{prefix}attention_mask"].bool()
    return [tuple(row[seen].tolist()) for row, seen in zip(ids, mask, strict=True)]

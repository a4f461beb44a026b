"""Reference log-probs: computed once for each model and text, shared by every objective, β and seed.

An entry holds *per-token* log-probs of completions, so that sums, means and token losses all read the same numbers.
Its key has the model's content, the token ids and the precision; no β, no loss, no learning rate and no path enter.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.core.artifacts import verify_folder, write_whole
from bench.core.manifest import is_complete
from bench.data.collate import TokenRow
from bench.errors import RunError
from bench.models.logprobs import CompletionLogProbs
from bench.utils.event_log import log_event
from bench.utils.file_lock import only_one

VERSION = 2


def row_digest(row: TokenRow) -> bytes:
    """Return 16 bytes that name a (prompt, completion) by its token ids and the border between them."""
    prompt, completion = row
    text = f"{','.join(map(str, prompt))}|{','.join(map(str, completion))}"
    return hashlib.sha256(text.encode()).digest()[:16]


_digest_kept = lru_cache(maxsize=1 << 17)(row_digest)
"""For steps, which look up the rows of their batches again and again: 40 MiB at most."""


@dataclass(frozen=True)
class ReferenceLogProbs:
    """Log-probs (nats, float32) of completion tokens under the reference, looked up by token ids."""

    values: Tensor
    offsets: Tensor
    index: dict[bytes, int]

    def row(self, row: TokenRow) -> Tensor:
        """Return ``[completion tokens]``.

        Raises:
            RunError: the row was never computed: a cache made of other data must not be read as zeros.
        """
        position = self._position(row)
        start, end = self.offsets[position].item(), self.offsets[position + 1].item()
        return self.values[start:end]

    def padded(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        """Lay rows out as ``mask [rows, tokens]`` says: one value where it is True, 0 elsewhere."""
        if not rows:
            return self.values.new_zeros(mask.shape)
        positions = torch.tensor([self._position(row) for row in rows])
        starts, counts = self.offsets[positions], self.offsets[positions + 1] - self.offsets[positions]
        before = counts.cumsum(0) - counts
        indices = torch.arange(int(counts.sum())) + (starts - before).repeat_interleave(counts)
        flat = self.values[indices].to(mask.device)
        return flat.new_zeros(mask.shape).masked_scatter(mask, flat)

    def _position(self, row: TokenRow) -> int:
        position = self.index.get(_digest_kept(row))
        if position is None:
            raise RunError(
                f"the reference cache has no log-probs of the completion {row[1][:8]}… ({len(row[1])} tokens)",
                fix="the cache belongs to other data: remove results/reference and run again",
            )
        return position

    def merged(self, other: "ReferenceLogProbs") -> "ReferenceLogProbs":
        """Return both caches as one."""
        shift, base = len(self.index), int(self.offsets[-1])
        return ReferenceLogProbs(
            values=torch.cat([self.values, other.values]),
            offsets=torch.cat([self.offsets, other.offsets[1:] + base]),
            index={**{digest: position + shift for digest, position in other.index.items()}, **self.index},
        )


def reference_key(rows: Iterable[TokenRow], *, model: str, precision: str) -> str:
    """Name a cache entry by what decides its numbers."""
    digest = hashlib.sha256(f"reference {VERSION} {model} {precision}".encode())
    for name in sorted({row_digest(row) for row in rows}):
        digest.update(name)
    return digest.hexdigest()[:16]


def open_reference(
    rows: Sequence[TokenRow],
    *,
    model_content: str,
    precision: str,
    folder: Path,
    load: Callable[[], CompletionLogProbs],
    pad_id: int,
    batch: int,
    note: Callable[[str], None],
) -> Path:
    """Return the entry that holds the log-probs of ``rows``: as it lies in ``folder``, else computed and stored.

    Args:
        folder: ``results/reference``. An entry whose bytes do not match its manifest is made again.
        load: gives the reference model; called only when something has to be computed.
        note: called with what is being done, in a few words.
    """
    entry = folder / reference_key(rows, model=model_content, precision=precision)
    if is_complete(entry):
        problems = verify_folder(entry)
        if not problems:
            log_event("cache_hit", {"cache": "reference", "entry": entry.name})
            return entry
        log_event("cache_damaged", {"cache": "reference", "entry": entry.name, "problem": str(problems[0])})
        note(f"the cache entry is damaged ({problems[0]}); it is made again")
        shutil.rmtree(entry)
    # Another process that wants the entry waits, and finds it there.
    with only_one(entry.with_name(f".{entry.name}.lock")):
        if not is_complete(entry):
            _compute_entry(
                entry, rows, model_content=model_content, precision=precision, load=load, pad_id=pad_id, batch=batch,
                note=note,
            )  # fmt: skip
    return entry


def _compute_entry(
    entry: Path,
    rows: Sequence[TokenRow],
    *,
    model_content: str,
    precision: str,
    load: Callable[[], CompletionLogProbs],
    pad_id: int,
    batch: int,
    note: Callable[[str], None],
) -> None:
    started = time.monotonic()
    distinct = list({row_digest(row): row for row in rows}.values())
    note(f"{len(distinct)} completions")
    logps = compute(distinct, load(), pad_id=pad_id, precision=precision, batch=batch)
    tensors = {
        "values": torch.cat(logps),
        "offsets": torch.tensor([0, *(len(x) for x in logps)]).cumsum(0),
        "rows": torch.tensor([list(row_digest(row)) for row in distinct], dtype=torch.uint8),
    }

    def write(partial: Path) -> None:
        save_file(tensors, partial / "logps.safetensors")
        about = {"model": model_content, "precision": precision, "seconds": round(time.monotonic() - started, 3)}
        (partial / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")

    write_whole(entry, write, stage="reference")
    seconds = round(time.monotonic() - started, 3)
    log_event("cache_built", {"cache": "reference", "entry": entry.name, "rows": len(distinct), "seconds": seconds})


@torch.no_grad()
def compute(
    rows: Sequence[TokenRow],
    model: CompletionLogProbs,
    *,
    pad_id: int,
    precision: str,
    batch: int,
) -> list[Tensor]:
    """Return each row's per-token log-probs under ``model``; rows of like length, or of one prompt, share a batch."""
    device = next(model.parameters()).device

    def alike(position: int) -> tuple[object, ...]:
        prompt, completion = rows[position]
        return (len(prompt), prompt) if model.packed else (len(prompt) + len(completion),)

    order = sorted(range(len(rows)), key=alike)
    logps: list[Tensor] = [torch.empty(0)] * len(rows)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            scores = model(model.lay([rows[i] for i in chosen], pad_id=pad_id))
        for i, values, where in zip(chosen, scores.logps, scores.mask, strict=True):
            logps[i] = values[where].float().cpu()
    return logps


def _read(entry: Path) -> ReferenceLogProbs:
    try:
        tensors = load_file(entry / "logps.safetensors")
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"reference cache {entry} cannot be read: {error}", fix="remove that folder and run again"
        ) from error
    index = {bytes(row.tolist()): position for position, row in enumerate(tensors["rows"])}
    return ReferenceLogProbs(values=tensors["values"], offsets=tensors["offsets"], index=index)


def read_references(entries: Sequence[Path]) -> ReferenceLogProbs:
    """Read several entries as one."""
    first, *others = [_read(entry) for entry in entries]
    for other in others:
        first = first.merged(other)
    return first


def reference_cost(folder: Path, *, model: str) -> float:
    """Return the seconds spent on all entries of a model, shared by every run on it."""
    entries = (_seconds(path, model=model) for path in folder.glob("[!.]*/about.json"))
    return sum(seconds for seconds in entries if seconds is not None)


def _seconds(path: Path, *, model: str) -> float | None:
    """Return the seconds that an entry took; None for another model, and while an entry is replaced or damaged."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(about, dict) or about.get("model") != model:
        return None
    seconds = about.get("seconds")
    return seconds if isinstance(seconds, int | float) else None

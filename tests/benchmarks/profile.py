"""Owns where the time of our step goes: seconds by kind of operation, as torch's profiler sees them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks.machine import describe, now, peaks
from tests.benchmarks.material import BATCH, batches_of, draw_pairs, write_start
from tests.benchmarks.objectives import Precision, Run, compared
from tests.benchmarks.shapes import shape_of, step_flops
from tests.benchmarks.turns import LEARNING_RATE

KINDS = {
    "products with weights": ("mm", "addmm", "addmm_", "mv", "addmv_"),
    "products of attention": ("bmm", "baddbmm"),
    "softmax": ("_softmax", "_softmax_backward_data", "amax", "max"),
    "gather and scatter": (
        "index_select", "index", "gather", "scatter_add_", "index_copy", "embedding_dense_backward", "masked_scatter",
        "repeat_interleave", "cat",
    ),
    "clipping and optimiser": (
        "_fused_adamw_", "_foreach_norm", "_foreach_mul_", "_foreach_add_", "linalg_vector_norm", "fill_", "zero_",
    ),
    "casts and copies": ("copy_", "_to_copy", "clone"),
    "element by element": (
        "mul", "mul_", "add", "add_", "addcmul_", "sub", "div_", "div", "neg", "silu", "silu_backward", "rsqrt_",
        "square_", "pow_", "exp", "log", "sum", "where", "masked_fill_", "log_sigmoid_forward",
    ),
}  # fmt: skip
"""Kinds by the names of torch's operators; all other time is that of our kernels, Python, dispatch and autograd."""
REST = "kernels in C, Python, autograd"
WARM_UP = 4


def measure(sizes: Sequence[str], precisions: Sequence[Precision], *, steps: int, note: Any) -> dict[str, Any]:
    """Steps of DPO without and then under the profiler: shares are of the profiled time, ``seconds`` of the other."""
    peak = peaks(seconds=0.5)
    rows = []
    for size in sizes:
        for precision in precisions:
            rows.append(_row(size, precision, steps=steps, peak=peak[precision]))
            note(told(rows[-1]))
    return {"kind": "profile", "machine": describe(), "peaks": peak, "rows": rows}


def told(row: dict[str, Any]) -> str:
    """A row in one line."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in row["shares"].items() if share >= 0.005)
    return (
        f"{row['size']} {row['precision']}: {row['seconds']:.3f} s a step, {row['share_of_peak']:.0%} of the best "
        f"matrix product; {shares}"
    )


def table(record: dict[str, Any]) -> str:
    """The rows as Markdown."""
    names = [*KINDS, REST]
    lines = [
        f"| model | precision | step [s] | share of peak | {' | '.join(names)} |",
        f"|{'---|' * (4 + len(names))}",
    ]
    for row in record["rows"]:
        shares = " | ".join(f"{row['shares'][name]:.0%}" for name in names)
        lines.append(
            f"| {row['size']} | {row['precision']} | {row['seconds']:.3f} | {row['share_of_peak']:.0%} | {shares} |"
        )
    return "\n".join(lines) + "\n"


def _row(size: str, precision: Precision, *, steps: int, peak: float) -> dict[str, Any]:
    from tests.benchmarks.ours import prepare

    shape = shape_of(size)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model=write_start(shape, Path(folder) / "model"),
            pairs=draw_pairs(BATCH * (WARM_UP + 2 * steps), vocabulary=shape.vocabulary, seed=0),
            objective="dpo",
            params=compared("dpo").params,
            learning_rate=LEARNING_RATE,
            max_length=shape.context,
        )
        mine = prepare(run, precision=precision, cache=Path(folder) / "reference")
        for _ in range(WARM_UP):
            mine.step()
        plain = []
        for _ in range(steps):
            started = now()
            mine.step()
            plain.append(now() - started)
        started = now()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(steps):
                mine.step()
        profiled = now() - started
    by_name = {each.key: each.self_cpu_time_total / 1e6 for each in found.key_averages()}
    shares = {
        kind: sum(by_name.get(f"aten::{name}", 0.0) for name in names) / profiled for kind, names in KINDS.items()
    }
    shares[REST] = 1 - sum(shares.values())
    flops = [step_flops(shape, batch) for batch in batches_of(run.pairs)][WARM_UP : WARM_UP + steps]
    return {
        "size": size,
        "precision": precision,
        "seconds": float(np.median(plain)),
        "share_of_peak": float(np.median(np.array(flops) / np.array(plain)) / peak),
        "shares": shares,
    }

"""Owns ``python -m tests.scaling``: measures the pieces and writes what large jobs need into docs/scaling.md."""

import subprocess
import sys
from pathlib import Path

from bench.utils.files import write_text_whole
from tests.benchmarks.shapes import shape_of
from tests.scaling.pieces import measure
from tests.scaling.project import Job, pieces_table, table

BEGIN, END = "<!-- scaling:begin -->", "<!-- scaling:end -->"
DOCUMENT = Path("docs/scaling.md")
MODEL = "5M"
FLOPS = 4e14
"""Assumed of a GPU: 40 % of the 989 TFLOP/s in bf16 that NVIDIA states of an H100 and an H200."""
DATA = {"pairs": 61_000, "tokens": 800, "completion": 600, "flops": FLOPS}
"""Assumed of the data: as many pairs as UltraFeedback has; prompts of 200 tokens, completions of 300."""
JOBS = (
    Job(
        name="0.135B, each on 1 of 8 GPUs", parameters=0.135e9, layers=30, hidden=576, vocabulary=49_152,
        embedded=49_152 * 576, rank_pairs=8, ranks=1, gpus=8, trials=1_000, **DATA,
    ),
    Job(
        name="8B, each on 8 of 64 GPUs", parameters=8.03e9, layers=32, hidden=4096, vocabulary=128_256,
        embedded=2 * 128_256 * 4096, rank_pairs=4, ranks=8, gpus=64, trials=1_000, **DATA,
    ),
    Job(
        name="70B, on 64 GPUs", parameters=70.6e9, layers=80, hidden=8192, vocabulary=128_256,
        embedded=2 * 128_256 * 8192, rank_pairs=2, ranks=64, gpus=64, trials=1_000, **DATA,
    ),
)  # fmt: skip


def main() -> None:
    """Measure, compute, write."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*line, "-m", "tests.scaling.sharded", MODEL], capture_output=True, text=True, check=True
    ).stdout
    pieces = measure(shape_of(MODEL))
    measured = pieces_table(pieces, model=f"a Llama of {MODEL} parameters", sharded=float(done.split()[-1]))
    whole = DOCUMENT.read_text(encoding="utf-8")
    before, after = whole.split(BEGIN)[0], whole.split(END)[1]
    write_text_whole(DOCUMENT, f"{before}{BEGIN}\n{measured}\n{table(JOBS, pieces)}{END}{after}")


if __name__ == "__main__":
    main()

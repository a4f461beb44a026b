"""One rank of a training: ``python -m bench.train RUN_DIR``, as torchrun and Slurm start it."""

import sys

from bench.train.distributed.rank import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

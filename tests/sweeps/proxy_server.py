"""GRPC proxy of the tests, a process of its own: ``python -m tests.sweeps.proxy_server STORAGE PORT``."""

import sys
import warnings

import optuna

from sweeps.storage import open_storage

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.storages.run_grpc_proxy_server(open_storage(sys.argv[1]).once, host="127.0.0.1", port=int(sys.argv[2]))

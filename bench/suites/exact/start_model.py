"""The start model of an enumerable problem, and the folder that holds it."""

from pathlib import Path

import torch

from bench.models.table_model import TableConfig, TableModel
from bench.suites.exact.problem import Problem
from bench.suites.exact.tokenizer import make_tokenizer


def start_model(problem: Problem) -> TableModel:
    """Return the model whose distribution is the problem's ``log_ref``."""
    spec = problem.spec
    model = TableModel(TableConfig(contexts=spec.contexts, symbols=spec.symbols, length=spec.length))
    with torch.no_grad():
        model.table.copy_(torch.from_numpy(problem.start_logits))
    return model.eval()


def write_start_model(problem: Problem, folder: Path) -> None:
    """Write start model and tokenizer as a folder of transformers."""
    start_model(problem).save_pretrained(folder)
    make_tokenizer(symbols=problem.spec.symbols, contexts=problem.spec.contexts).save_pretrained(folder)

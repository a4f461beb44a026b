"""The exact suite: model and data made from the settings of an enumerable problem."""

from __future__ import annotations

from pathlib import Path

from bench.core.artifacts import Note, make_sound
from bench.core.specs import DataSpec, EvaluationSpec, ProblemSpec, TrainSpec
from bench.errors import RunError, UsageError
from bench.suites.exact.evaluator import ExactEvaluator
from bench.suites.exact.labels import encode_problem
from bench.suites.exact.problem import make_problem
from bench.suites.exact.start_model import write_start_model
from bench.suites.inputs import UserInputs
from bench.suites.protocol import EVALUATION_SPLITS, StartModel, SuiteData, refuse_judging, refuse_samples
from bench.suites.settings import Suite


def check_request(suite: Suite, inputs: UserInputs, *, train: TrainSpec, evaluation: EvaluationSpec) -> None:
    """Raise UsageError for any input: the suite makes everything itself. Raise it for LoRA: a table has no layers."""
    refuse_judging(suite, inputs, evaluation)
    refuse_samples(suite, evaluation, reason="scores every completion, and samples none", fix="leave it out")
    data = inputs.data[0] if inputs.data else None
    for option, value in (("--model", inputs.model), ("--data", data), ("--chat-template", inputs.chat_template)):
        if value is not None:
            raise UsageError(
                f"{option} {value}: suite {suite.name} makes model and data from its problem",
                fix="leave it out, or turn a dial such as --set problem.flips=0.2",
            )
    if train.lora is not None:
        raise UsageError(f"suite {suite.name} trains a table, which has no layer for LoRA", fix="leave lora out")


def start_model(suite: Suite, *, results: Path, note: Note) -> Path:
    """Return the folder of the table that holds the problem's start policy, written where it is missing."""
    spec = _problem_spec(suite)
    folder = results / "models" / f"{suite.name}-{spec.digest()}"
    make_sound(folder, lambda partial: write_start_model(make_problem(spec), partial), note=note)
    return folder


def load(
    suite: Suite,
    inputs: UserInputs,
    start: StartModel,
    *,
    evaluation: EvaluationSpec,
    results: Path,
    note: Note,
) -> SuiteData:
    """Draw the problem's pairs and list its prompts. Rows are as long as its longest completion, so all of them fit."""
    problem = make_problem(_problem_spec(suite))
    parts = {split: encode_problem(problem, split) for split in ("train", *EVALUATION_SPLITS)}
    prompts = {split: tuple(map(problem.prompt, problem.contexts(split))) for split in EVALUATION_SPLITS}
    rows = parts["train"]
    return SuiteData(
        data=rows,
        data_spec=DataSpec(
            kind=rows.kind,
            source=f"suite {suite.name}",
            content=rows.content_hash,
            rows=len(rows.rows),
            problem=problem.spec,
        ),
        held_out={split: parts[split] for split in EVALUATION_SPLITS},
        prompts=prompts,
        evaluation=evaluation.model_copy(update={"prompts": len(prompts["validation"])}),
        evaluator=ExactEvaluator(problem=problem, tokenizer=start.tokenizer),
    )


def _problem_spec(suite: Suite) -> ProblemSpec:
    if suite.problem is None:
        raise RunError(f"{suite.folder / 'suite.toml'} has no [problem]", fix="install lossbench again")
    return suite.problem

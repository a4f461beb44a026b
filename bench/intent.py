"""Owns what a command asks for, resolved and checked as far as that goes before model and data are opened."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.data.options import AS_IT_IS, DataOptions
from bench.errors import UsageError, did_you_mean
from bench.execution import Execution
from bench.request import Request, Settings, apply, read_settings
from bench.search import Search, axes_of, make_search
from bench.spec import EvaluationSpec, LoraSpec, SetSpec, TrainSpec
from bench.stages import stage_settings
from bench.suites.suite import Preset, Suite, get_suite
from losses import Objective, get, names, register_file
from losses.grammar import EXPRESSIONS, ExpressionError
from sweeps.pruning import rungs_of
from sweeps.search import Axis

ALL = "all"
PRUNERS = ("none", "median", "halving")


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One command as far as its words, its suite and the objectives' own files say.

    ``suite`` has the problem whose dials were set. ``terms`` are those of the protocol named ``preset``; ``trials`` and
    ``finals`` what is left of them after ``--trials`` and ``--seeds``.
    """

    request: Request
    objectives: tuple[Objective, ...]
    settings: Settings
    suite: Suite
    train: TrainSpec
    evaluation: EvaluationSpec
    execution: Execution
    options: DataOptions
    preset: str
    terms: Preset
    trials: int
    finals: int
    axes: tuple[Axis, ...]


def intent_of(request: Request) -> Intent:
    """Check what is asked for and resolve it; no model, no data and no network are needed.

    Raises:
        UsageError: with what was given, what would be right, and what to do.
    """
    request = _with_files(request)
    _check_seconds(request)
    for path in request.loss_files:
        try:
            register_file(path)
        except ValueError as error:
            raise UsageError(
                f"--loss-file {path}: {error}", fix="see «Your own loss, in one file» in the README"
            ) from error
    objectives = tuple(_objective(name) for text in request.losses for name in (names() if text == ALL else (text,)))
    if not objectives:
        raise UsageError(
            "there is no loss to train with",
            fix="--loss NAME (`bench losses` lists them), or --recipe NAME (`bench recipes`)",
        )
    known = sorted({name for objective in objectives for name in objective.params})
    settings = read_settings(request.settings, params=known)
    suite = get_suite(request.suite)
    execution = apply(Execution(processes=request.processes), settings.sections["execution"], section="execution")
    request = replace(request, processes=execution.processes)  # --set may have the last word
    train = _train(suite, settings, processes=request.processes)
    problem = suite.problem
    if settings.sections["problem"]:
        if problem is None:
            raise UsageError(f"suite {suite.name} has no problem to set", fix="--suite exact has")
        problem = apply(problem, settings.sections["problem"], section="problem")
    if request.sampler not in ("grid", "tpe", "random"):
        raise UsageError(
            f"unknown sampler {request.sampler!r}", fix=did_you_mean(request.sampler, ("grid", "tpe", "random"))
        )
    _check_pruner(request, steps=train.steps, ranks=request.processes > 1 or execution.launcher == "manual")
    preset, terms = suite.preset(request.protocol)
    return Intent(
        request=request,
        objectives=objectives,
        settings=settings,
        suite=suite.model_copy(update={"problem": problem}),
        train=train,
        evaluation=apply(suite.evaluation, settings.sections["evaluation"], section="evaluation"),
        execution=execution,
        options=_data_options(request, settings.sections["data"]),
        preset=preset,
        terms=terms,
        trials=request.trials or terms.trials,
        finals=terms.final_seeds if request.seeds is None else request.seeds,
        axes=axes_of(request, terms.axes if request.protocol is not None else ()),
    )


def searches_of(intent: Intent, *, sets: Sequence[SetSpec]) -> tuple[Search, ...]:
    """Return what every objective is tried at.

    Args:
        sets: the data sets in their order, where they are several.

    Raises:
        UsageError: an axis that an objective has not, a value out of range, or stages that are not the data's.
    """
    return tuple(
        make_search(
            objective,
            intent.request,
            intent.axes,
            stage_settings(objective, intent.settings.params, intent.axes, sets=sets),
            trials=intent.trials,
            suite=intent.suite,
            steps=intent.train.steps,
        )
        for objective in intent.objectives
    )


def _train(suite: Suite, settings: Settings, *, processes: int) -> TrainSpec:
    """The suite's training as ``--set`` changed it. Raises UsageError where ranks cannot share its batch."""
    changes = dict(settings.sections["train"])
    with_lora = changes.pop("lora", suite.train.lora is not None or bool(settings.sections["lora"]))
    base = suite.train.lora or LoraSpec()
    changes["lora"] = apply(base, settings.sections["lora"], section="lora").model_dump() if with_lora else None
    train = apply(suite.train, changes, section="train")
    if train.batch % processes:
        raise UsageError(
            f"a batch of {train.batch} cannot be shared by {processes} processes",
            fix=f"--set train.batch={train.batch // processes * processes or processes}",
        )
    return train


def _with_files(request: Request) -> Request:
    """``--loss my_loss.py:my_loss`` is ``--loss my_loss --loss-file my_loss.py``."""
    found = [re.fullmatch(r"(.+\.py):(\w.*)", text) for text in request.losses]
    files = [Path(match[1]) for match in found if match is not None]
    losses = tuple(text if match is None else match[2] for text, match in zip(request.losses, found, strict=True))
    return replace(request, losses=losses, loss_files=tuple(dict.fromkeys((*request.loss_files, *files))))


def _check_seconds(request: Request) -> None:
    for name, value, least in (("patience", request.patience, 0.0), ("lease", request.lease, 1.0)):
        if not (math.isfinite(value) and value >= least):
            raise UsageError(f"--{name} {value:g} is no number of seconds", fix=f"give {least:g} or more")


def _objective(name: str) -> Objective:
    try:
        return get(name)
    except KeyError as error:
        raise UsageError(f"unknown loss {name!r}", fix=did_you_mean(name, names(), listed_by="bench losses")) from error
    except ExpressionError as error:
        raise UsageError(f"--loss: {error}", fix=EXPRESSIONS) from error


def _check_pruner(request: Request, *, steps: int, ranks: bool) -> None:
    """Refuse a pruner that there is not, or that has nothing to work on."""
    if request.pruner not in PRUNERS:
        raise UsageError(f"unknown pruner {request.pruner!r}", fix=did_you_mean(request.pruner, PRUNERS))
    if request.pruner == "none":
        return
    if ranks:
        raise UsageError(
            f"--pruner {request.pruner}: a training by ranks cannot be ended early",
            fix="--processes 1 in this process (execution.launcher=torchrun), or --pruner none",
        )
    if not rungs_of(request.pruner, steps=steps):
        raise UsageError(f"--pruner {request.pruner}: {steps} steps leave nothing to end", fix="--pruner none")


def _data_options(request: Request, changes: Mapping[str, Any]) -> DataOptions:
    """What ``--set data.…`` said of the user's own data. Raises UsageError where there are none."""
    if changes and request.data is None:
        name = next(iter(changes))
        raise UsageError(f"--set data.{name}: the suite's own data are as they are", fix="give --data FILE with it")
    return apply(AS_IT_IS, changes, section="data")

"""The plan of a command: its request resolved and checked, objectives, settings, seeds and steps."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.core.data_options import AS_IT_IS, DataOptions
from bench.core.request import Request, Settings, apply, read_settings
from bench.core.specs import EvaluationSpec, Execution, LoraSpec, SetSpec, TrainSpec
from bench.data.tokens import pairs_in, singles_in
from bench.errors import UsageError, did_you_mean
from bench.evaluate.tasks.preflight import preflight, reader_of, refuse
from bench.runner.keys import terms_of
from bench.runner.prepare import open_workspace
from bench.runner.search import Search, axes_of, make_search, stage_settings
from bench.runner.workspace import Workspace
from bench.suites.inputs import UserInputs
from bench.suites.suite import Preset, Suite, get_suite
from losses import Objective, Requires, Singles, get, names, register_file
from losses.grammar import EXPRESSIONS, ExpressionError
from sweeps.protocol import TuningProtocol
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


LONGEST_STUDY = 64
"""Characters of a study's name; file systems take 255 for name, objective and hash together."""

FINAL_SEED = 1000
"""First seed of the finals: no tuning run has trained on it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One command, resolved."""

    request: Request
    workspace: Workspace
    searches: tuple[Search, ...]
    preset: str
    axes: tuple[Axis, ...]
    trials: int
    seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]

    @property
    def runs(self) -> int:
        """How many trainings the plan has, finished ones included."""
        tried = sum(len(search.points) for search in self.searches) * len(self.seeds)
        return tried + len(self.searches) * len(self.final_seeds)

    @cached_property
    def protocol(self) -> TuningProtocol:
        """The terms that everybody who joins a study has to share."""
        return TuningProtocol(
            preset=self.preset,
            terms=terms_of(self.workspace),
            axes=tuple(map(str, self.axes)),
            trials=self.trials,
            sampler=self.request.sampler,
            seeds=self.seeds,
            final_seeds=self.final_seeds,
            target="target",
            direction="maximize",
            steps=self.workspace.train.steps,
            pairs=len(self.workspace.data.rows),
            pruner=self.request.pruner,
            rungs=rungs_of(self.request.pruner, steps=self.workspace.train.steps),
        )

    def study_name(self, search: Search) -> str:
        """The same command joins the same study: its name says what is searched, its hash the rest."""
        if self.request.study is not None:
            return f"{self.request.study}-{_as_file_name(search.objective.name)}"
        identity = {
            "protocol": self.protocol.hash,
            "objective": [search.objective.name, search.objective.version],
            "points": list(search.points) if self.request.sampler == "grid" else [axis.name for axis in search.axes],
            "fixed": dict(search.fixed),
            "learning_rate": self.workspace.train.learning_rate,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.workspace.suite.name}-{_as_file_name(search.objective.name)}-{digest}"


def make_plan(request: Request, *, note: Callable[[str], None] = lambda text: None) -> Plan:
    """Check a request whole and resolve it.

    Args:
        note: told where something on disk was damaged and is made again.

    Raises:
        UsageError: with what was given, what would be right, and what to do.
    """
    if request.study is not None:
        check_study_name(request.study)
    intent = intent_of(request)
    request, suite, train, terms = intent.request, intent.suite, intent.train, intent.terms
    workspace = open_workspace(
        suite,
        UserInputs(
            model=request.model,
            chat_template=request.chat_template,
            data=request.data or (),
            options=intent.options,
            judges=request.judges,
            prompts=request.prompts,
        ),
        results=request.results,
        train=train,
        evaluation=intent.evaluation,
        execution=intent.execution,
        note=note,
    )
    refuse(preflight(workspace.evaluation.lm_eval, include=suite.folder, reader=reader_of(workspace.model)))
    for objective in intent.objectives:
        _check_data(objective, workspace)
    searches = searches_of(intent, sets=workspace.data_spec.sets)
    # Values that were given by number are as many as they are, whatever the budget of a protocol.
    trials = max((search.trials for search in searches), default=intent.trials)
    return Plan(
        request=request,
        workspace=workspace,
        searches=searches,
        preset=intent.preset if (trials, intent.finals) == (terms.trials, terms.final_seeds) else "custom",
        axes=intent.axes,
        trials=trials,
        seeds=tuple(range(terms.seeds)),
        final_seeds=tuple(range(FINAL_SEED, FINAL_SEED + intent.finals)),
    )


def check_study_name(name: str) -> None:
    """Refuse a name that is no plain file name, for studies are folders too. Raises UsageError."""
    if not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_STUDY - 1}}}", name):
        raise UsageError(
            f"--study {name[:80]!r} is no name of a study",
            fix=f"up to {LONGEST_STUDY} letters, digits and _ . - of which the first is no . or -, as in --study night",
        )


def _as_file_name(name: str) -> str:
    """Of an expression what any file system takes, and a hash of the rest, so that two never share a study."""
    found = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")[:LONGEST_STUDY]
    return found if found == name else f"{found}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _check_data(objective: Objective, workspace: Workspace) -> None:
    """Refuse an objective that the data have not what it needs."""
    source = workspace.data_spec.source
    if objective.batch is not Singles and workspace.data.kind == "unpaired":
        unpaired = [name for name in names() if get(name).batch is Singles]
        raise UsageError(
            f"objective {objective.name!r} needs pairs, but {source} has unpaired rows",
            fix=f"give rows with prompt, chosen, rejected, or take one of: {', '.join(unpaired)}",
        )
    singles = singles_in(workspace.data.rows)
    # One that reads no reference may imitate; the others set the two labels against each other.
    if Requires.REFERENCE in objective.requires and len({single.desirable for single in singles}) == 1:
        wanted = "wanted" if singles[0].desirable else "unwanted"
        raise UsageError(
            f"objective {objective.name!r} needs wanted and unwanted answers, but {source} has {wanted} ones only",
            fix="give rows of both labels, or pairs; to imitate demonstrations, see «Demonstrations» in docs/data.md",
        )
    if Requires.SCORES in objective.requires and any(pair.score_gap is None for pair in pairs_in(workspace.data.rows)):
        raise UsageError(
            f"objective {objective.name!r} needs scores, but {source} has rows without them",
            fix="give rows with chosen_score and rejected_score, or take an objective without --needs scores",
        )

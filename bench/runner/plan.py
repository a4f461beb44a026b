"""The plan of a run: a request resolved and checked, first without model and data (``Draft``), then with them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bench.core.artifacts import Note
from bench.core.data_options import AS_IT_IS, DataOptions
from bench.core.margins import margin_of
from bench.core.request import LONGEST_STUDY, PrunerName, RunRequest, Settings, apply, read_settings
from bench.core.specs import EvaluationSpec, Execution, LoraSpec, SetSpec, TrainSpec
from bench.data.tokens import lacks_scores
from bench.errors import UsageError, did_you_mean
from bench.evaluate.tasks.preflight import TEXTS_VERSION, check_tasks, reader_of, refuse
from bench.evaluate.tasks.prompts import has_template, prompting_of, reason_of
from bench.runner.keys import terms_of
from bench.runner.prepare import open_workspace
from bench.runner.search import Search, axes_of, make_search, stage_settings
from bench.runner.workspace import Workspace
from bench.stats.race import RaceTerms, race_terms
from bench.suites.inputs import UserInputs
from bench.suites.settings import Preset, Suite, get_suite
from losses import Objective, Requires, Singles, get, names, register_file
from losses.grammar import EXPRESSIONS, ExpressionError
from sweeps.protocol import RaceSpec, TuningProtocol
from sweeps.pruning import rungs_of
from sweeps.search import Axis

ALL = "all"
FINAL_SEED = 1000
"""First seed of the finals: no tuning run has trained on it."""
RACE_SEEDS = 32
"""The most fresh seeds that an arm of a race gets without ``--seeds``."""
SELECT_SEEDS = 3
"""The most seeds that a setting of a race gets on validation prompts without ``--select-seeds``."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A request resolved without its model and data: words, suite, and the files of own objectives.

    Fields:
        suite: with the problem whose dials were set.
        preset: the name of the protocol.
        terms: those of the protocol.
        trials, finals: of each objective, after ``--trials`` and ``--seeds``; in a race at most so many finals.
    """

    request: RunRequest
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


def draft_plan(request: RunRequest) -> Draft:
    """Resolve a request as far as no model, no data and no network are needed.

    Raises:
        UsageError: a part of the request that cannot be right.
    """
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
    execution = apply(
        suite.execution.model_copy(update={"processes": request.processes}),
        settings.sections["execution"],
        section="execution",
    )
    train = _train(suite, settings, processes=execution.processes)
    problem = suite.problem
    if settings.sections["problem"]:
        if problem is None:
            raise UsageError(f"suite {suite.name} has no problem to set", fix="--suite exact has")
        problem = apply(problem, settings.sections["problem"], section="problem")
    _check_pruner(request.pruner, train, execution)
    preset, terms = suite.preset(request.protocol)
    _check_race(request, objectives, terms)
    return Draft(
        request=request.changed({"processes": execution.processes}),  # --set goes before --processes
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
        finals=_finals(request, terms),
        axes=axes_of(request.sweep, terms.axes if request.protocol is not None else ()),
    )


def _finals(request: RunRequest, terms: Preset) -> int:
    """Return the fresh seeds of each objective, in a race the most that it may get."""
    if request.seeds is not None:
        return request.seeds
    return terms.final_seeds if request.until is None else RACE_SEEDS


def _check_race(request: RunRequest, objectives: Sequence[Objective], terms: Preset) -> None:
    """Refuse options of a race without one, and a race that nobody can run."""
    if request.until is None:
        of_a_race = (("margin", request.margin), ("select-seeds", request.select_seeds), ("budget", request.budget))
        for option, value in of_a_race:
            if value is not None:
                raise UsageError(f"--{option} {value} is of a race, and there is none", fix="add --until decided")
        return
    arms = {objective.name for objective in objectives}
    if len(arms) < 2:
        raise UsageError(
            f"--until decided: {', '.join(arms)} has nothing to race against",
            fix="name two objectives or more, as in --loss dpo,ipo; or leave out --until for the same number of seeds",
        )
    if request.seeds is None and terms.final_seeds == 0:
        raise UsageError(
            "--until decided races over fresh seeds, and this protocol has none", fix=f"--seeds {RACE_SEEDS}"
        )
    if request.seeds is not None and request.seeds < 2:
        raise UsageError(
            f"--until decided needs two fresh seeds or more (got --seeds {request.seeds})",
            fix=f"--seeds {RACE_SEEDS}, the most that an objective may get; or leave it out",
        )
    first = race_terms(_finals(request, terms), 1.0).looks[0] * len(arms)
    runs = request.limit.runs
    if runs is not None and runs < first:
        raise UsageError(
            f"--budget runs={runs}: the first look of the race takes {first} trainings, {first // len(arms)} of each "
            f"of {len(arms)} objectives",
            fix=f"--budget runs={first} or more, or fewer objectives",
        )


def searches_of(draft: Draft, *, sets: Sequence[SetSpec]) -> tuple[Search, ...]:
    """Return the settings that every objective is tried at.

    Args:
        sets: the data sets in their order, where they are several.

    Raises:
        UsageError: an axis that an objective has not, a value out of range, or stages that are not the data's.
    """
    return tuple(
        make_search(
            objective,
            draft.axes,
            stage_settings(objective, draft.settings.params, draft.axes, sets=sets),
            sampler=draft.request.sampler,
            trials=draft.trials,
            suite=draft.suite,
            steps=draft.train.steps,
        )
        for objective in draft.objectives
    )


def _train(suite: Suite, settings: Settings, *, processes: int) -> TrainSpec:
    """Return the suite's training as changed by ``--set``. Raises UsageError where ranks cannot share its batch."""
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


def _objective(name: str) -> Objective:
    try:
        return get(name)
    except KeyError as error:
        raise UsageError(f"unknown loss {name!r}", fix=did_you_mean(name, names(), listed_by="bench losses")) from error
    except ExpressionError as error:
        raise UsageError(f"--loss: {error}", fix=EXPRESSIONS) from error


def _check_pruner(pruner: PrunerName, train: TrainSpec, execution: Execution) -> None:
    """Refuse a pruner that cannot end any training early."""
    if pruner == "none":
        return
    if execution.processes > 1 or execution.launcher == "manual":
        raise UsageError(
            f"--pruner {pruner}: a training on several ranks cannot be ended early",
            fix="--processes 1 in this process (execution.launcher=torchrun), or --pruner none",
        )
    if not rungs_of(pruner, steps=train.steps):
        raise UsageError(f"--pruner {pruner}: {train.steps} steps are too few to end one early", fix="--pruner none")


def _data_options(request: RunRequest, changes: Mapping[str, object]) -> DataOptions:
    """Return the options of ``--set data.…``. Raises UsageError where there are no data of the user's own."""
    if changes and request.data is None:
        name = next(iter(changes))
        raise UsageError(f"--set data.{name} changes how --data is read, and there is none", fix="add --data FILE")
    return apply(AS_IT_IS, changes, section="data")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One command, resolved."""

    request: RunRequest
    workspace: Workspace
    searches: tuple[Search, ...]
    preset: str
    axes: tuple[Axis, ...]
    trials: int
    seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    race: RaceTerms | None = None
    further_seeds: tuple[int, ...] = ()

    @property
    def runs(self) -> int:
        """How many trainings the plan has, finished ones included; with a race it is the most."""
        tried = sum(len(search.points) for search in self.searches) * len((*self.seeds, *self.further_seeds))
        return tried + len(self.searches) * len(self.final_seeds)

    @cached_property
    def protocol(self) -> TuningProtocol:
        """The terms that all workers of a study share."""
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
            race=None
            if self.race is None
            else RaceSpec(looks=self.race.looks, levels=self.race.levels, margin=self.race.margin),
            arms=() if self.race is None else self.arms,
            further_seeds=self.further_seeds,
        )

    @property
    def arms(self) -> tuple[str, ...]:
        """The objectives by name, in the same order whatever order they were named in."""
        return tuple(sorted({search.objective.name for search in self.searches}))

    @property
    def sure_seeds(self) -> tuple[int, ...]:
        """The fresh seeds that every objective gets: in a race those of the first look, else all."""
        return self.final_seeds if self.race is None else self.final_seeds[: self.race.looks[0]]

    def study_name(self, search: Search) -> str:
        """Return the name of a search's study: what is searched, and a hash of the rest. Equal commands join it."""
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


def make_plan(
    request: RunRequest,
    *,
    note: Callable[[str], None] = lambda text: None,
    scratch: Path | None = None,
    most: int | None = None,
) -> Plan:
    """Resolve a request with its model and data.

    Args:
        note: called where something on disk was damaged and is made again.
        scratch: for a plan that nobody runs, as in ``open_workspace``.
        most: rows that are read of each of the user's files; None: all.

    Raises:
        UsageError: a part of the request that cannot be right.
    """
    draft = draft_plan(request)
    request, suite, terms = draft.request, draft.suite, draft.terms
    workspace = open_workspace(
        suite,
        UserInputs(
            model=request.model,
            chat_template=request.chat_template,
            data=request.data or (),
            options=draft.options,
            judges=request.judges,
            strong=request.strong,
            prompts=request.prompts,
            most=most,
        ),
        results=request.results,
        train=draft.train,
        evaluation=draft.evaluation,
        execution=draft.execution,
        note=note,
        scratch=scratch,
    )
    workspace = _with_tasks(workspace, suite=suite, requested=draft.evaluation.apply_chat_template, note=note)
    for objective in draft.objectives:
        _check_data(objective, workspace, sampled=most is not None)
    searches = searches_of(draft, sets=workspace.data_spec.sets)
    # Explicit values of a sweep are all tried, whatever the budget of a protocol.
    trials = max((search.trials for search in searches), default=draft.trials)
    as_preset = trials == terms.trials and (
        draft.finals == terms.final_seeds or (request.until is not None and request.seeds is None)
    )
    return Plan(
        request=request,
        workspace=workspace,
        searches=searches,
        preset=draft.preset if as_preset else "custom",
        axes=draft.axes,
        trials=trials,
        seeds=tuple(range(terms.seeds)),
        final_seeds=tuple(range(FINAL_SEED, FINAL_SEED + draft.finals)),
        race=None if request.until is None else _race_terms(draft, workspace),
        further_seeds=() if request.until is None else tuple(range(terms.seeds, request.select_seeds or SELECT_SEEDS)),
    )


def _race_terms(draft: Draft, workspace: Workspace) -> RaceTerms:
    margin = draft.request.margin
    if margin is None:
        margin = margin_of(workspace.suite.name, target=workspace.evaluation.target)
    return race_terms(draft.finals, margin)


def _with_tasks(workspace: Workspace, *, suite: Suite, requested: bool | None, note: Note) -> Workspace:
    """Return the workspace once its tasks of lm-eval were checked; report how they are asked, where there is a choice.

    Args:
        requested: whether the user wants them by the chat template; None: the suite decides.

    Raises:
        UsageError: a task that cannot be run.
    """
    evaluation, tokenizer = workspace.evaluation, workspace.tokenizer
    checked = check_tasks(evaluation.lm_eval, include=suite.folder, reader=reader_of(workspace.model))
    refuse(checked.findings)
    if evaluation.lm_eval:
        prompting_of(evaluation).check(tokenizer)
        if has_template(tokenizer) or requested is not None:
            trained_by = f"suite {suite.name}" if evaluation.apply_chat_template else None
            note(reason_of(requested, tokenizer, trained_by=trained_by))
    if not checked.texts:
        return workspace
    return replace(workspace, evaluation=evaluation.model_copy(update={"lm_eval_texts": TEXTS_VERSION}))


def _as_file_name(name: str) -> str:
    """Return an expression as a file name, with a hash where it is not one, so that two never share a study."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")[:LONGEST_STUDY]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _check_data(objective: Objective, workspace: Workspace, *, sampled: bool) -> None:
    """Refuse an objective that needs what the data do not have; of a sample only what all rows have alike."""
    source = workspace.data_spec.source
    if objective.batch is not Singles and workspace.data.kind == "unpaired":
        unpaired = [name for name in names() if get(name).batch is Singles]
        raise UsageError(
            f"objective {objective.name!r} needs pairs, but {source} has unpaired rows",
            fix=f"give rows with prompt, chosen, rejected, or take one of: {', '.join(unpaired)}",
        )
    labels = set(workspace.data.labels.tolist()) if workspace.data.kind == "unpaired" else set()
    # One that reads no reference may imitate; the others set the two labels against each other.
    if not sampled and Requires.REFERENCE in objective.requires and len(labels) == 1:
        wanted = "wanted" if labels == {True} else "unwanted"
        raise UsageError(
            f"objective {objective.name!r} needs wanted and unwanted answers, but {source} has {wanted} ones only",
            fix="give rows of both labels, or pairs; to imitate demonstrations, see «Demonstrations» in docs/data.md",
        )
    if Requires.SCORES in objective.requires and lacks_scores(workspace.data):
        raise UsageError(
            f"objective {objective.name!r} needs scores, but {source} has rows without them",
            fix="give rows with chosen_score and rejected_score, or take an objective without --needs scores",
        )

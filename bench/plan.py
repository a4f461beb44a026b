"""Owns the plan of a command: objectives, settings, seeds and steps, checked before anything runs."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from bench.data.tokens import pairs_in, singles_in
from bench.errors import UsageError
from bench.evaluate.preflight import preflight, reader_of, refuse
from bench.given import Brought
from bench.identity import terms_of
from bench.intent import intent_of, searches_of
from bench.opening import open_workspace
from bench.request import Request
from bench.search import Search
from bench.workspace import Workspace
from losses import Objective, Requires, Singles, get, names
from sweeps.protocol import TuningProtocol
from sweeps.pruning import rungs_of
from sweeps.search import Axis

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
        Brought(
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

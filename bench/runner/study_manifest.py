"""The manifest of a study: its request in canonical form, and hashes to check it by."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.request import Request
from bench.core.specs import without_sources
from bench.data.hub import hub_id
from bench.errors import UsageError
from bench.models.chat_templates.apply import NAMES, OWN
from bench.runner.plan import Plan
from bench.utils.files import naming_disk_errors, sibling_of
from sweeps.posts import post

VERSION = 1
FOLDER = "folder-id"
"""A file of the results folder that tells whether two machines see the same one."""


class PostedRequest(BaseModel):
    """What ``bench run`` was asked for, without what each machine has of its own; paths are absolute, and hints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    losses: tuple[str, ...]
    sweep: str | None
    suite: str
    model: str | None
    data: tuple[Path, ...] | None
    protocol: str | None
    trials: int | None
    seeds: int | None
    settings: tuple[str, ...]
    sampler: str
    processes: int
    loss_files: tuple[Path, ...]
    pruner: str
    patience: float
    lease: float
    results: Path
    judges: tuple[str, ...] = ()
    prompts: Path | None = None
    chat_template: str | None = None


class Posted(BaseModel):
    """One plan of a study. ``identity``: what has to agree; ``folder``: of which results folder it was opened with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    request: PostedRequest
    identity: dict[str, Any]
    folder: str


def identity_of(plan: Plan) -> dict[str, Any]:
    """All that two workers on one plan have to agree on, by content; no path is in it."""
    workspace = plan.workspace
    objectives = {}
    for search in plan.searches:
        spec = search.spec(workspace, search.points[0], seed=0)
        objectives[search.objective.name] = {
            "version": spec.objective_version,
            "file": spec.objective_content,
            "points": [dict(point) for point in search.points],
            "axes": [str(axis) for axis in search.axes],
            "fixed": dict(search.fixed),
        }
    identity = {
        "suite": [workspace.suite.name, workspace.suite.version],
        "data": workspace.data_spec.content,
        "model": workspace.model_spec.content,
        "train": workspace.train.model_dump(mode="json"),
        "evaluation": without_sources(workspace.evaluation.model_dump(mode="json", exclude={"split"})),
        "objectives": objectives,
        "protocol": plan.protocol.model_dump(mode="json"),
    }
    return json.loads(json.dumps(identity, sort_keys=True))


def post_plan(plan: Plan, storage: BaseStorage) -> None:
    """Tell whoever joins the study by its name alone what the plan is. Other plans of the same study stay posted."""
    request = plan.request
    assert request.study is not None
    identity, template = identity_of(plan), request.chat_template
    asked = PostedRequest.model_validate(
        {
            **{name: value for name, value in asdict(request).items() if name in PostedRequest.model_fields},
            "data": None
            if request.data is None
            else [path if hub_id(path) else path.absolute() for path in request.data],
            "model": _absolute(request.model),
            "settings": [placed(text) for text in request.settings],
            "prompts": None if request.prompts is None else request.prompts.absolute(),
            "judges": [_absolute_judge(judge) for judge in request.judges],
            "chat_template": template if template in (OWN, *NAMES) else _absolute(template),
            "loss_files": [path.absolute() for path in request.loss_files],
            "results": request.results.absolute(),
        }
    )
    folder = folder_id(request.results, make=True)
    assert folder is not None
    posted = Posted(version=VERSION, request=asked, identity=identity, folder=folder)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    post(storage, request.study, key, posted.model_dump(mode="json"))


def placed(setting: str) -> str:
    """Return a ``--set`` as a worker elsewhere reads it: files of data by their absolute path."""
    name, _, given = setting.partition("=")
    file = Path(given.strip())
    if name.strip() not in ("data.validation", "data.test") or hub_id(file) is not None:
        return setting
    return f"{name}={file.absolute()}"


def read_posted(found: Mapping[str, object], *, study: str) -> list[Posted]:
    """Read what was posted for a study.

    Raises:
        UsageError: another version of lossbench posted it.
    """
    try:
        return [Posted.model_validate(found[key]) for key in sorted(found)]
    except ValidationError as error:
        raise UsageError(
            f"study {study!r} was opened by another version of lossbench: {error.errors()[0]['msg']}",
            fix="install the same version on every machine",
        ) from error


def request_of(posted: Posted, own: Mapping[str, Any]) -> Request:
    """Return the request, with what this machine has of its own (by field; None: as it was posted)."""
    asked = posted.request
    given = {name: value for name, value in own.items() if value is not None}
    fields = {name: getattr(asked, name) for name in PostedRequest.model_fields}
    request = Request(**fields)
    settings = (*asked.settings, *given.pop("settings", ()))
    return replace(request, **given, settings=settings)


def check_agrees(plan: Plan, posted: Posted) -> None:
    """Refuse a plan that this machine resolves to something else, and a results folder that is not the shared one.

    Raises:
        UsageError: naming each difference.
    """
    differences = _differences(posted.identity, identity_of(plan))
    if differences:
        raise UsageError(
            f"study {plan.request.study!r} was opened for other work than this machine would do: "
            f"{'; '.join(differences[:6])}",
            fix="give the same files (--model, --data, --loss-file), and the same version of lossbench",
        )
    if folder_id(plan.request.results, make=False) != posted.folder:
        raise UsageError(
            f"results folder {plan.request.results} is not the one that study {plan.request.study!r} was opened with "
            f"({posted.request.results})",
            fix="workers share one folder: give its path on this machine by --out",
        )


def folder_id(results: Path, *, make: bool) -> str | None:
    """Return the identity of a results folder; None where it has none and is to get none."""
    path = results / "studies" / FOLDER
    if make and not path.exists():
        temporary = sibling_of(path)
        with naming_disk_errors(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(f"{uuid.uuid4().hex}\n", encoding="utf-8")
            # A link is made once only: of two commands that come at once, one gives the folder its name.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
            temporary.unlink()
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _absolute(given: str | None) -> str | None:
    return str(Path(given).absolute()) if given is not None and Path(given).exists() else given


def _absolute_judge(judge: str) -> str:
    kind, colon, place = judge.partition(":")
    if colon and Path(place).exists():
        return f"{kind}:{Path(place).absolute()}"
    return str(_absolute(judge))


def _differences(posted: Any, found: Any, name: str = "") -> list[str]:
    if posted == found:
        return []
    if isinstance(posted, dict) and isinstance(found, dict):
        keys = sorted(posted.keys() | found.keys())
        each = [_differences(posted.get(key), found.get(key), f"{name}.{key}" if name else key) for key in keys]
        return [line for lines in each for line in lines]
    return [f"{name} is {_short(posted)} there, {_short(found)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:48]}… ({len(text)} characters)"

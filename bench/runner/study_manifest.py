"""The plans that a study stores for the workers that join it: the request, and hashes to check it by."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from optuna.storages import BaseStorage
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import to_jsonable_python

from bench.core.request import RunRequest
from bench.core.specs import STATED_POWERS, without_sources
from bench.data.hub import hub_id
from bench.errors import UsageError
from bench.models.chat_templates.apply import NAMES, OWN
from bench.runner.plan import Plan
from bench.utils.files import naming_disk_errors, sibling_of
from sweeps.shared_values import post

VERSION = 1
FOLDER = "folder-id"
"""A file of the results folder that tells whether two machines see the same one."""


class StoredPlan(BaseModel):
    """One plan of a study, as its storage has it. Paths are absolute, and hints: each machine may give its own.

    Fields:
        version: of this form.
        request: the fields of ``RunRequest`` with ``Option(stored=True)``.
        identity: all that the workers have to agree on (``identity_of``).
        folder: identity of the results folder that the study was opened with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    request: RunRequest
    identity: dict[str, object]
    folder: str

    @field_validator("request", mode="before")
    @classmethod
    def _without_stated_powers(cls, request: object) -> object:
        # Studies of older versions may have them; no number depends on them.
        if not isinstance(request, dict) or "settings" not in request:
            return request
        names = {text: text.partition("=")[0].strip().removeprefix("execution.") for text in request["settings"]}
        return {**request, "settings": [text for text, name in names.items() if name not in STATED_POWERS]}


def identity_of(plan: Plan) -> dict[str, object]:
    """Return all that two workers on one plan have to agree on, by content; it has no paths."""
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
    """Store what the plan is for the workers that know the study's name. Other plans of the study stay stored."""
    request, identity = plan.request, identity_of(plan)
    assert request.study is not None
    folder = folder_id(request.results, make=True)
    fields = {name: _absolute(name, value) for name, value in request.stored().items()}
    content = {"version": VERSION, "request": to_jsonable_python(fields), "identity": identity, "folder": folder}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    post(storage, request.study, key, content)


def read_stored_plans(contents: Mapping[str, object], *, study: str) -> list[StoredPlan]:
    """Return the stored plans of a study.

    Raises:
        UsageError: another version of lossbench stored them.
    """
    fix = "install the version of lossbench that opened the study, on every machine"
    try:
        plans = [StoredPlan.model_validate(contents[key]) for key in sorted(contents)]
    except (ValidationError, UsageError) as error:
        problem = error.problem if isinstance(error, UsageError) else error.errors()[0]["msg"]
        raise UsageError(f"study {study!r} was opened by another version of lossbench: {problem}", fix=fix) from error
    if other := [plan.version for plan in plans if plan.version != VERSION]:
        raise UsageError(
            f"study {study!r} was opened by another version of lossbench: its form is version {other[0]}, and this "
            f"version reads {VERSION}",
            fix=fix,
        )
    return plans


def check_agrees(plan: Plan, stored: StoredPlan) -> None:
    """Refuse a plan that is other work on this machine, and a results folder that is not the shared one.

    Raises:
        UsageError: naming each difference.
    """
    differences = _differences(stored.identity, identity_of(plan))
    if differences:
        raise UsageError(
            f"study {plan.request.study!r} was opened for other work than this machine would do: "
            f"{'; '.join(differences[:6])}",
            fix="give the same files (--model, --data, --loss-file), and the same version of lossbench",
        )
    if folder_id(plan.request.results, make=False) != stored.folder:
        raise UsageError(
            f"results folder {plan.request.results} is not the one that study {plan.request.study!r} was opened with "
            f"({stored.request.results})",
            fix="workers share one folder: give its path on this machine by --out",
        )


def folder_id(results: Path, *, make: bool) -> str | None:
    """Return the identity of a results folder, which ``make`` gives to one without; else None."""
    path = results / "studies" / FOLDER
    if make and not path.exists():
        temporary = sibling_of(path)
        with naming_disk_errors(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(f"{uuid.uuid4().hex}\n", encoding="utf-8")
            # A link is made once only: of two commands at the same time, one names the folder.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
            temporary.unlink()
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _absolute(field: str, value: object) -> object:
    """Return a field's value with absolute paths: files, models and judges that exist here, and any other path."""
    if isinstance(value, tuple):
        return tuple(_absolute(field, each) for each in value)
    if isinstance(value, Path):
        return value if field == "data" and hub_id(value) else value.absolute()
    if not isinstance(value, str) or value in ("", OWN, *NAMES):
        return value
    if field == "settings":
        return _absolute_setting(value)
    if field in ("judges", "strong"):
        kind, colon, path = value.partition(":")
        if colon and Path(path).exists():
            return f"{kind}:{Path(path).absolute()}"
    if field in ("model", "judges", "strong", "chat_template") and Path(value).exists():
        return str(Path(value).absolute())
    return value


def _absolute_setting(text: str) -> str:
    """Return a ``--set`` with the absolute path where its value is a file of data."""
    name, _, value = text.partition("=")
    file = Path(value.strip())
    if name.strip() not in ("data.validation", "data.test") or hub_id(file) is not None:
        return text
    return f"{name}={file.absolute()}"


def _differences(stored: object, own: object, name: str = "") -> list[str]:
    if stored == own:
        return []
    if isinstance(stored, dict) and isinstance(own, dict):
        keys = sorted(stored.keys() | own.keys())
        each = [_differences(stored.get(key), own.get(key), f"{name}.{key}" if name else key) for key in keys]
        return [line for lines in each for line in lines]
    return [f"{name} is {_short(stored)} there, {_short(own)} here"]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:48]}… ({len(text)} characters)"

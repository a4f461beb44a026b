"""Models, data and tasks that a command needs and this machine lacks, found without a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.data.hub import hub_id
from bench.errors import BenchError
from bench.evaluate.judges.factory import judge_spec
from bench.evaluate.tasks.documents import is_cached
from bench.models.hub import in_cache, is_hub_name
from bench.models.sources import RUN, find_run
from bench.runner.plan import Draft

OF_THE_SUITE = ("fitted", "start")


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One thing that is not here. ``fetched``: a hub's, which comes by itself where there is a network."""

    what: str
    name: str
    fetched: bool

    def __str__(self) -> str:
        """Return it as people read it."""
        return f"{self.what} {self.name} ({'of the hub, not in its cache here' if self.fetched else 'not here'})"


def missing_of(draft: Draft) -> tuple[Missing, ...]:
    """Return what is missing: model, data, judges, prompts."""
    request = draft.request
    missing = [*_model(request.model, request.results)]
    paths = [*(request.data or ()), draft.options.validation, draft.options.test]
    for path in filter(None, paths):
        missing += _data(path, draft.options.config)
    for name in (*request.judges, *([] if request.strong is None else [request.strong])):
        missing += _judge(name)
    if request.prompts is not None and not request.prompts.is_file():
        missing.append(Missing(what="prompts", name=str(request.prompts), fetched=False))
    template = request.chat_template
    if template is not None and template.endswith((".jinja", ".j2")) and not Path(template).is_file():
        missing.append(Missing(what="chat template", name=template, fetched=False))
    return tuple(missing)


def _model(name: str | None, results: Path) -> Iterator[Missing]:
    if name is None or Path(name).exists():
        return
    absent = Missing(what="model", name=name, fetched=False)
    if name.startswith(RUN):
        try:
            find_run(name.removeprefix(RUN), results)
        except BenchError:
            yield absent
    elif is_hub_name(name):
        if not in_cache(name):
            yield Missing(what="model", name=name, fetched=True)
    else:
        yield absent


def _data(path: Path, config: str | None) -> Iterator[Missing]:
    data_set = hub_id(path)
    if data_set is not None:
        if not is_cached(data_set.name, config, data_set.revision):
            yield Missing(what="data", name=str(path), fetched=True)
    elif not path.exists():
        yield Missing(what="data", name=str(path), fetched=False)


def _judge(name: str) -> Iterator[Missing]:
    if name in OF_THE_SUITE:
        return
    try:
        folder = judge_spec(name).folder
    except BenchError:
        if not name.endswith(".toml"):
            raise
        yield Missing(what="judge", name=name, fetched=False)
        return
    if folder is not None and not folder.exists():
        yield Missing(what="judge", name=name, fetched=False)

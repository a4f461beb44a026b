"""The page: one self-contained HTML file with leaderboards, figures and every run, from the records alone."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.analysis import Analysis, analyse_folder
from bench.report.analysis.comparison import Comparison, score_interval
from bench.report.analysis.correction import correction_texts
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting, Split, values
from bench.report.analysis.warnings import warnings_of
from bench.report.page.cells import PageColumn, page_columns
from bench.report.page.pictures import Picture, pictures
from bench.report.page.rows import PageRow, page_rows
from bench.report.page.runs import Pool, group_data
from bench.report.page.tasks import TasksPart, tasks_part
from bench.report.tables.text import is_rate, number, reward_label, setting_text, target_formula, target_short
from bench.utils.files import write_text_whole

PAGE = "report.html"
TERMS = {
    "preset": "preset",
    "axes": "swept",
    "trials": "settings of each objective",
    "sampler": "sampler",
    "seeds": "seeds that select",
    "further_seeds": "more seeds of those in question",
    "final_seeds": "seeds that report",
    "target": "chosen by",
    "direction": "direction",
    "steps": "optimiser steps",
    "pairs": "training pairs",
    "arms": "in the race",
    "race": "race",
    "terms": "hash of the terms",
}
MOST_NUMBERS = 10
"""As many numbers in a row are listed; of more the first and the last."""
ESCAPES = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"})
SCRIPTS = ("table.js", "detail.js")
STYLES = ("page.css", "table.css", "detail.css")


@dataclass(frozen=True)
class Section:
    """The page's section of one group: settings of one protocol, suite, start model and data set."""

    name: str
    group: Group
    columns: list[PageColumn]
    rows: list[PageRow]
    verdict: str
    first_text: str
    margin: str
    warnings: list[str]
    terms: list[tuple[str, str]]
    target: str
    reward: str
    agreements: list[str]
    tasks: TasksPart
    pictures: list[Picture]
    runs: int
    statuses: list[str]
    splits: list[Split]


def write_page(results: Path, *, analysis: Analysis | None = None) -> Path:
    """Write ``report.html`` whole or not at all; return its path. Without ``analysis`` the records there are read.

    The file needs nothing beside it and requests nothing from a network. Equal records, completions and figures give
    equal bytes. The page says which completions are missing or damaged; figures that were not drawn are left out.

    Raises:
        RunError: a damaged record, a figure that cannot be read, a full disk and the like.
    """
    write_text_whole(results / PAGE, page_html(analysis or analyse_folder(results), results=results))
    return results / PAGE


def page_html(analysis: Analysis, *, results: Path, figures: Path | None = None) -> str:
    """Return the page of ``analysis``; its completions are read from ``results``, so are figures by default."""
    pool = Pool()
    sections, data = [], []
    for index, comparison in enumerate(analysis.comparisons):
        images = pictures(figures or results, comparison.group, index=index, groups=len(analysis.groups))
        section = _section(comparison, position=index + 1, pictures=images)
        sections.append(section)
        data.append({"id": section.name} | group_data(comparison.group, section.rows, pool, results=results))
    return render(sections, {"groups": data, "pool": pool.values})


def render(sections: Sequence[Section], data: Mapping[str, object]) -> str:
    """Return the page as HTML. Every text goes through the template's escaping or through ``script_json``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("bench.report.page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def source(name: str) -> str:
        return loader.get_source(environment, name)[0]

    script = '"use strict";\n' + "".join(f"{{\n{source(name)}}}\n" for name in SCRIPTS)
    return environment.get_template("report.html.jinja").render(
        sections=sections,
        # our own files and what script_json made: the only texts that are not escaped by the template
        data=Markup(script_json(data)),
        script=Markup(script),
        style=Markup("".join(map(source, STYLES))),
        script_hash=content_hash(script),
    )


def script_json(value: object) -> str:
    """Return ``value`` as JSON that may stand in a script element of HTML: no text in it can end that element.

    ASCII only, so that texts with lone surrogates can be written too. Raises ValueError for NaN and infinities.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.translate(ESCAPES)


def content_hash(script: str) -> str:
    """Return the source expression of a content security policy that lets this one inline script run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _section(comparison: Comparison, *, position: int, pictures: list[Picture]) -> Section:
    group = comparison.group
    records = [record for setting in ranked(group) for record in setting.every_record]
    first = comparison.first
    splits: list[Split] = ["test", "validation"]
    return Section(
        name=f"group-{position}",
        group=group,
        columns=page_columns(comparison),
        rows=page_rows(comparison, number=position),
        verdict=comparison.verdict.full_text,
        first_text=""
        if first is None
        else f"{first.objective}: {setting_text(first, group)}, {interval_text(first, group)}",
        margin=f"{comparison.verdict.margin:g}",
        warnings=warnings_of(comparison),
        terms=_terms(group.tuning),
        target=target_formula(group) if is_rate(group) else "",
        reward=reward_label(group),
        agreements=[*map(agreement_text, judges_agree(group)), *correction_texts(group)],
        tasks=tasks_part(comparison.tasks),
        pictures=pictures,
        runs=len({record.key for record in records}),
        statuses=sorted({record.status for record in records}),
        splits=[split for split in splits if any(record.evaluation.split == split for record in records)],
    )


def interval_text(setting: Setting, group: Group) -> str:
    """Return «J = 0.312 ± 0.020 over 3 seeds» of the test prompts."""
    seeds = len(values(setting.test, "target"))
    plural = "" if seeds == 1 else "s"
    return f"{target_short(group)} = {number(score_interval(setting.test))} over {seeds} seed{plural}"


def _terms(tuning: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the protocol's terms as label and text: the known ones in their order, then any other."""
    names = [name for name in TERMS if name in tuning] + sorted(set(tuning) - set(TERMS))
    return [(TERMS.get(name, name), _text(tuning[name])) for name in names]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        whole = all(isinstance(each, int) for each in value)
        if whole and len(value) > MOST_NUMBERS and list(value) == list(range(value[0], value[0] + len(value))):
            return f"{value[0]} to {value[-1]}"
        return ", ".join(map(_text, value)) or "none"
    return "all" if value is None else str(value)

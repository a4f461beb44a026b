"""The page: one self-contained HTML file with leaderboards, figures and every run, made from the records alone."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.analysis import Analysis, analyse_folder
from bench.report.analysis.compared import Compared
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Split
from bench.report.page.columns import Column, interval_text
from bench.report.page.pictures import Picture, pictures
from bench.report.page.rows import Row, Verdict, table, verdict
from bench.report.page.runs import Pool, group_data
from bench.report.tables.gain import no_gain_text
from bench.report.tables.text import is_rate, reward_label, setting_text, target_formula
from bench.utils.files import write_text_whole

PAGE = "report.html"
TERMS = {
    "preset": "preset",
    "axes": "swept",
    "trials": "settings of each objective",
    "sampler": "sampler",
    "seeds": "seeds that select",
    "final_seeds": "seeds that report",
    "target": "chosen by",
    "direction": "direction",
    "steps": "optimiser steps",
    "pairs": "training pairs",
    "terms": "hash of the terms",
}
ESCAPES = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"})
SCRIPTS = ("table.js", "detail.js")
STYLES = ("page.css", "table.css", "detail.css")


@dataclass(frozen=True)
class Section:
    """What the page shows of one group: settings of one protocol, suite, start model and data set."""

    name: str
    group: Group
    columns: list[Column]
    rows: list[Row]
    verdict: Verdict | None
    first_text: str
    no_gain: str | None
    terms: list[tuple[str, str]]
    target_said: str
    reward_said: str
    agreements: list[str]
    pictures: list[Picture]
    runs: int
    statuses: list[str]
    splits: list[Split]


def write_page(results: Path, *, analysis: Analysis | None = None) -> Path:
    """Write ``report.html`` whole or not at all; return its path. Without ``analysis`` the records there are read.

    The file needs nothing beside it and asks nothing of a network. Equal records, completions and figures give equal
    bytes. Missing or damaged completions are told on the page; figures that were not drawn are left out.

    Raises:
        RunError: a damaged record, a figure that cannot be read, a full disk and the like.
    """
    write_text_whole(results / PAGE, page_html(analysis or analyse_folder(results), results=results))
    return results / PAGE


def page_html(analysis: Analysis, *, results: Path, figures: Path | None = None) -> str:
    """Return the page as HTML; completions are read from under ``results``, and so are figures by default."""
    groups = analysis.groups
    pool = Pool()
    sections, data = [], []
    for at, (group, compared) in enumerate(zip(groups, analysis.comparisons, strict=True)):
        section = _section(compared, at=at, pictures=pictures(figures or results, group, at=at, groups=len(groups)))
        sections.append(section)
        data.append({"id": section.name} | group_data(group, section.rows, pool, results=results))
    return render(sections, {"groups": data, "pool": pool.values})


def render(sections: Sequence[Section], data: dict[str, Any]) -> str:
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


def script_json(value: Any) -> str:
    """Return ``value`` as JSON that may stand in a script element of HTML: no text in it can end that element.

    ASCII only, so that texts with lone surrogates can be written too. Raises ValueError for NaN and infinities.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.translate(ESCAPES)


def content_hash(script: str) -> str:
    """Return the source expression of a content security policy that lets this one inline script run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _section(compared: Compared, *, at: int, pictures: list[Picture]) -> Section:
    group = compared.group
    columns, rows = table(compared, at=at + 1)
    settings = ranked(group)
    records = [record for setting in settings for record in (*setting.test, *setting.validation)]
    found = verdict(compared)
    splits: list[Split] = [split for split in ("test", "validation") if any(s.records(split) for s in settings)]
    return Section(
        name=f"group-{at + 1}",
        group=group,
        columns=columns,
        rows=rows,
        verdict=found,
        first_text="" if found is None else f"{setting_text(found.first, group)}, {interval_text(found.first)}",
        terms=_terms(records[0].tuning),
        target_said=target_formula(group) if is_rate(group) else "",
        reward_said=reward_label(group),
        no_gain=no_gain_text(group),
        agreements=[agreement_text(found) for found in judges_agree(group)],
        pictures=pictures,
        runs=len({record.key for record in records}),
        statuses=sorted({record.status for record in records}),
        splits=splits,
    )


def _terms(tuning: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the protocol's terms as label and text: the known ones in their order, then any other."""
    names = [name for name in TERMS if name in tuning] + sorted(set(tuning) - set(TERMS))
    return [(TERMS.get(name, name), _text(tuning[name])) for name in names]


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return "all" if value is None else str(value)

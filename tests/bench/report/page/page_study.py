"""Owns what the tests of the page share: studies with completions on disk, hostile ones among them, and a parser."""

import json
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path

from bench.core.artifacts import write_whole
from bench.core.record import Metric, RunRecord
from bench.core.samples import SampleRow, write_samples
from tests.bench.report.conftest import record, run_spec, study

HOSTILE = (
    "<script>window.pwned = 1</script>",
    '</script><img src=x onerror="window.pwned = 1">',
    "<!--<script>",
    "]]>\u2028\u2029&amp;&lt; \"double\" 'single' `back`",
    "\u202eright to left\u2066 مرحبا بالعالم",
    "W" * 5000,
    "",
    "\x00 and \x1b",
)
ODD = "<b onclick='x()'>&odd</b>"
"""A name that an objective of one's own may have."""


def rows(texts: Sequence[str] = HOSTILE, *, prompts: int = 16, kl: float = 1.0) -> list[SampleRow]:
    return [
        SampleRow(
            prompt_ids=(7, at), completion_ids=(1, 2, 3), ended=at % 2 == 0, prompt=f"prompt {at}: <i>", kl=kl,
            text=texts[at % len(texts)], gold=0.25 * at,
        )
        for at in range(prompts)
    ]  # fmt: skip


def write_study(results: Path, records: Iterable[RunRecord], *, samples: Sequence[SampleRow] | None = None) -> Path:
    """Lay records out with completions: ``samples``, or each run's own; none where that is empty."""
    for one in records:
        folder = results / "runs" / one.key
        found = rows((f"by {one.spec.objective} with seed {one.spec.seed}",)) if samples is None else samples

        def train(partial: Path, spec=one.spec) -> None:
            (partial / "spec.json").write_text(spec.model_dump_json())

        def evaluate(partial: Path, given=one, found=found) -> None:
            (partial / "record.json").write_text(given.model_dump_json())
            if found:
                write_samples(partial / "samples.jsonl.gz", found)

        write_whole(folder, train, stage="train")
        write_whole(folder / "evals" / one.evaluation_key, evaluate, stage="evaluate")
    return results


def troubled() -> list[RunRecord]:
    """A study of two objectives with a diverged run, one of an odd name, and one whose completions are degenerate."""
    diverged = record(run_spec("ipo", beta=30.0), status="diverged")
    odd = record(run_spec(ODD, beta=0.1), target=-0.2)
    repeated = Metric(task="generation", split="validation", name="repeated_share", value=0.31, n=256)
    degenerate = record(run_spec("kto", beta=0.1), target=-0.5)
    degenerate = degenerate.model_copy(update={"metrics": (*degenerate.metrics, repeated)})
    return [*study(("dpo", "ipo")), diverged, odd, degenerate]


class Parsed(HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        inside = self.elements[-1][0] if self.elements else ""
        if inside == "script":
            self.scripts[-1] += data
        elif inside != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.elements.append((f"/{tag}", {}))

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

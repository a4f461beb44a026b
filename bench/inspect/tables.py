"""Terminal tables of ``bench inspect``."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from bench.core.inspection import GROUPS, SETS, Inspection, Probe
from bench.report.figures.inspected import labels, number_text, summary_rows

NAMES = {
    "aligned_positive": "aligned +",
    "aligned_negative": "aligned −",
    "anti_positive": "anti +",
    "anti_negative": "anti −",
    "all": "all four",
    "toward": "toward",
}


def tables(inspections: Sequence[Inspection]) -> Iterator[Table]:
    """Yield a table of what moved, one of the groups' contributions, and one of what patching restores."""
    yield _changes(inspections)
    yield _contributions(inspections)
    if any(one.patching for one in inspections):
        yield _patching(inspections)


def _changes(inspections: Sequence[Inspection]) -> Table:
    probe = inspections[0].probe
    table = _table(
        "What moved",
        f"{probe_text(probe)}; {inspections[0].texts} texts measured",
        ("ΔW/W %", "neurons %", "cosine", "projection", "change", "by MLPs", "attention"),
    )
    for row in summary_rows(inspections):
        table.add_row(
            Text(row["label"]),
            number_text(row["weight_change"], percent=True, places=2),
            number_text(row["activation_shift"], percent=True),
            number_text(row["last_cosine"], places=3),
            number_text(row["projection_trained"], places=2),
            number_text(row["projection_change"], places=2),
            number_text(row["projection_by_mlps"], places=2),
            number_text(row["projection_by_attention"], places=2),
        )
    return table


def probe_text(probe: Probe) -> str:
    """Return how often a probe is right, against chance, and what that means where it is no better."""
    text = f"probe after layer {probe.layer}: right on {number_text(probe.accuracy, percent=True)} %"
    if probe.low is None or probe.high is None or probe.chance is None:
        return f"{text} of {probe.held_out} held-out texts"
    low, high, chance = (number_text(each, percent=True) for each in (probe.low, probe.high, probe.chance))
    text += f" ({low} to {high}) of {probe.held_out} held-out texts, chance {chance} %"
    if not probe.at_chance:
        return text
    return f"{text}: at chance, so its direction separates nothing, and what follows along it means nothing"


def _contributions(inspections: Sequence[Inspection]) -> Table:
    table = _table("What each group of neurons adds along the probe", None, [NAMES[name] for name in GROUPS])
    for one, name in zip(inspections, labels(inspections), strict=True):
        table.add_row(Text(name), *(number_text(one.groups[group].change, places=2) for group in GROUPS))
    return table


def _patching(inspections: Sequence[Inspection]) -> Table:
    table = _table(
        "Effect restored by patching the start model, %",
        "100: as the trained model; 0: as the start model",
        ("of", *(NAMES[name] for name in SETS)),
    )
    for one, name in zip(inspections, labels(inspections), strict=True):
        for measure in one.patching:
            values = (number_text(measure.sets[which].restored, percent=True, places=0) for which in SETS)
            table.add_row(Text(name), measure.name.replace("_", " "), *values)
    return table


def _table(title: str, caption: str | None, names: Sequence[str]) -> Table:
    table = Table(title=title, caption=caption, box=None, pad_edge=False, title_justify="left", caption_justify="left")
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(name, justify="right")
    return table

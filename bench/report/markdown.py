"""Owns the tables for people: the leaderboard in Markdown, and the summary that ends a run."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.report.leaderboard import difference_to_first, rank_of, ranked
from bench.report.record import START, RunRecord
from bench.report.settings import Group, Setting, Split, group_records, interval, plotted_split, values
from bench.stats.intervals import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

NOTHING = "–"
NAMES = ("", "objective, setting")
NOTES = """\
- **Bold**: the setting of each objective that its mean target on *validation* prompts chose. Test numbers choose
  nothing.
- Ranked by the target on *test* prompts, `J = gold reward − β₀ · KL`, with β₀ = {beta0:g}. KL is in nats per
  completion, of a model's own samples, to the start model.
- `±`: half of the 95 % interval, Student's t over training seeds. With `*`, from one seed only: the normal interval
  over prompts, which leaves out what another seed would change.
- *to first*: target minus that of the first row, paired by seed, with a 95 % interval for all rows together
  (Bonferroni). *tie*: that interval holds 0. A dash: there are not two common seeds to tell from.
- Rows without a test target were tried on validation prompts alone. Runs that diverged, were pruned or failed stay in
  the table, and are left out of the means.
"""


def leaderboard_markdown(groups: Sequence[Group]) -> str:
    """Return the leaderboard as Markdown: a section for each group, since numbers of two protocols do not compare."""
    if not groups:
        return "# Leaderboard\n\nThere are no finished runs yet. `bench run` makes one.\n"
    return "# Leaderboard\n\n" + "\n".join(_section(group) for group in groups)


def summary_table(records: Iterable[RunRecord]) -> "RenderableType":
    """Return what ends a run: a table for each group, the start model on top, the best of an objective with ★.

    Numbers are of the test prompts where all settings have them, else of the validation prompts; the title says which.
    Where only the best ones were tested, their test target stands beside.
    """
    from rich.console import Group as Together

    return Together(*map(_summary, group_records(records)))


def _summary(group: Group) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    split = plotted_split(group)
    title = f"{group.suite}: {split} prompts, target = gold reward − {group.beta0:g} · KL"
    caption = "± 95 % interval over seeds, with * over one seed's prompts; ★ best by validation"
    table = Table(
        title=title, title_style="bold", caption=caption, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    settings = ([group.start] if group.start else []) + list(group.settings)
    rows = [_summary_cells(setting, split, group) for setting in settings]
    if split == "validation" and any(setting.test for setting in group.settings):
        rows = [
            row | {"test\ntarget": _narrow(interval(s.test, "target"))} for s, row in zip(settings, rows, strict=True)
        ]
    measured = [name for name in rows[0] if name in NAMES or any(row[name] != NOTHING for row in rows)]
    for name in measured:
        named = name in NAMES
        wraps = name == "objective, setting"
        table.add_column(name, justify="left" if named else "right", no_wrap=not wraps, overflow="fold")
    for setting, row in zip(settings, rows, strict=True):
        style = "bold" if setting.best else "dim" if setting.objective == START else None
        table.add_row(*(row[name] for name in measured), style=style)
    return table


def _summary_cells(setting: Setting, split: Split, group: Group) -> dict[str, str]:
    records = setting.records(split)
    troubles = sorted({r.status for r in (*setting.validation, *setting.test) if r.status != "completed"})
    named = "untrained" if setting.objective == START else setting_text(setting, group, brief=True)
    return {
        "": "★" if setting.best else "",
        "objective, setting": " ".join([setting.objective, named, *troubles]),
        "target": _narrow(interval(records, "target")),
        "gold\nreward": _narrow(interval(records, "gold_reward")),
        "KL\nnats": number(interval(records, "kl"), places=1, spread=False),
        "wins\n%": number(interval(records, "win_rate", task="judge"), places=1, spread=False),
        "BLiMP\n%": number(_percent(interval(records, "acc", task="blimp")), places=1, spread=False),
    }


def _narrow(found: Interval) -> str:
    """Return the number with two places and no spaces: the table fits a terminal of 80 columns."""
    return number(found, places=2).replace(" ", "")


def setting_text(setting: Setting, group: Group, *, brief: bool = False) -> str:
    """Return what tells a setting from the others: its parameters, and the training fields that differ.

    ``brief`` leaves out the parameters that are the same in all settings of the objective, if any differs.
    """
    others = [other for other in group.settings if other.objective == setting.objective]
    varying = {name for name, _ in setting.params if len({other.param(name) for other in others}) > 1}
    shown = varying if brief and varying else {name for name, _ in setting.params}
    parts = [f"{name}={value:g}" for name, value in setting.params if name in shown]
    parts += [f"lr={setting.learning_rate:g}"] if len({other.learning_rate for other in group.settings}) > 1 else []
    parts += [f"{name}={dict(setting.train).get(name)}" for name in group.differing]
    return " ".join(parts) or "defaults"


def number(found: Interval, *, places: int = 3, spread: bool = True) -> str:
    """Return «0.312 ± 0.020», with * where the interval knows one seed only, and a dash where nothing was measured."""
    if math.isnan(found.mean):
        return NOTHING
    text = f"{found.mean:.{places}f}".replace("-", "−")
    if not spread or math.isnan(found.half):
        return text
    return f"{text} ± {found.half:.{places}f}{'*' if found.source == 'prompts' else ''}"


def _section(group: Group) -> str:
    head = f"## {group.suite} (version {group.suite_version})\n\n"
    head += f"Start model `{group.model}`, data `{group.data}`, protocol `{group.protocol}`.\n\n"
    names = ["rank", "objective", "setting", "target J", "to first", "gold reward", "KL [nats]", "win rate [%]"]
    names += ["reward accuracy", "length", "BLiMP [%]", "validation J", "seeds", "runs that ended badly"]
    lines = [f"| {' | '.join(names)} |", f"|{'|'.join(['---:', '---', '---'] + ['---:'] * (len(names) - 3))}|"]
    for setting in ranked(group):
        cells = _cells(group, setting)
        bold = [f"**{cell}**" if setting.best and cell and at in (1, 2, 3) else cell for at, cell in enumerate(cells)]
        lines.append(f"| {' | '.join(bold)} |")
    return head + "\n".join(lines) + "\n\n" + NOTES.format(beta0=group.beta0)


def _cells(group: Group, setting: Setting) -> list[str]:
    test = setting.test
    gap, rank = difference_to_first(group, setting), rank_of(group, setting)
    return [
        "" if rank is None else str(rank),
        setting.objective,
        "untrained" if setting.objective == START else setting_text(setting, group),
        number(interval(test, "target")),
        _gap_text(gap) if setting.best else "",
        number(interval(test, "gold_reward")),
        number(interval(test, "kl"), places=1),
        number(interval(test, "win_rate", task="judge"), places=1),
        number(interval(test, "accuracy", task="preference"), spread=False),
        number(interval(test, "length", task="generation"), places=1, spread=False),
        number(_percent(interval(test, "acc", task="blimp")), places=1, spread=False),
        number(interval(setting.validation, "target"), spread=False),
        f"{len(values(test, 'target'))}" if test else f"{len(values(setting.validation, 'target'))} (validation)",
        _troubles(setting),
    ]


def _gap_text(gap: Interval) -> str:
    if math.isnan(gap.mean) or math.isnan(gap.half):
        return NOTHING
    return number(gap) + (" (tie)" if gap.low <= 0 <= gap.high else "")


def _troubles(setting: Setting) -> str:
    runs = {record.key: record.status for record in (*setting.validation, *setting.test)}
    bad = {status: sum(s == status for s in runs.values()) for status in sorted(set(runs.values()) - {"completed"})}
    return ", ".join(f"{count} of {len(runs)} {status}" for status, count in bad.items())


def _percent(share: Interval) -> Interval:
    return Interval(100 * share.mean, 100 * share.low, 100 * share.high, share.source, share.n)

"""Owns the tables for people: the leaderboard in Markdown, and the summary that ends a run."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.report.leaderboard import difference_to_first, ranked
from bench.report.record import START, RunRecord
from bench.report.settings import Group, Setting, Split, group_records, interval, plotted_split, values
from bench.report.stats import Interval

if TYPE_CHECKING:
    from rich.table import Table

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


def summary_table(records: Iterable[RunRecord]) -> "Table":
    """Return the table that ends a run: the start model on top, then each setting, the best of an objective with ★.

    Numbers are of the test prompts where all settings have them, else of the validation prompts; the title says which.
    Where only the best ones were tested, their test target stands beside. Raises ValueError where records of two
    protocols are mixed.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    groups = group_records(records)
    if len(groups) != 1:
        raise ValueError(f"a summary is of one protocol, suite, model and data set; got {len(groups)}")
    group = groups[0]
    split = plotted_split(group)
    title = f"{group.suite}: {split} prompts, target = gold reward − {group.beta0:g} · KL"
    table = Table(title=title, title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "objective", "setting"):
        table.add_column(name, no_wrap=name != "setting")
    for name in ("target", "gold\nreward", "KL\nnats", "wins\n%", "BLiMP\n%"):
        table.add_column(name, justify="right", no_wrap=True)
    tested = split == "validation" and any(setting.test for setting in group.settings)
    if tested:
        table.add_column("test\ntarget", justify="right", no_wrap=True)
    for setting in ([group.start] if group.start else []) + list(group.settings):
        style = "bold" if setting.best else "dim" if setting.objective == START else None
        last = [_narrow(interval(setting.test, "target"))] if tested else []
        table.add_row("★" if setting.best else "", *_summary_cells(setting, split, group), *last, style=style)
    table.caption = "± 95 % interval over seeds, with * over one seed's prompts; ★ best by validation"
    return table


def _summary_cells(setting: Setting, split: Split, group: Group) -> list[str]:
    records = setting.records(split)
    troubles = sorted({r.status for r in (*setting.validation, *setting.test) if r.status != "completed"})
    named = "untrained" if setting.objective == START else setting_text(setting, group)
    return [
        setting.objective,
        named + (f" ({', '.join(troubles)})" if troubles else ""),
        _narrow(interval(records, "target")),
        _narrow(interval(records, "gold_reward")),
        number(interval(records, "kl"), places=1, spread=False),
        number(interval(records, "win_rate", task="judge"), places=1, spread=False),
        number(_percent(interval(records, "acc", task="blimp")), places=1, spread=False),
    ]


def _narrow(found: Interval) -> str:
    """Return the number with two places and no spaces: the table fits a terminal of 80 columns."""
    return number(found, places=2).replace(" ", "")


def setting_text(setting: Setting, group: Group) -> str:
    """Return what tells a setting from the others: its parameters, and the training fields that differ."""
    rates = {other.learning_rate for other in group.settings}
    parts = [setting.params_text] if setting.params else []
    parts += [f"lr={setting.learning_rate:g}"] if len(rates) > 1 else []
    parts += [f"{name}={dict(setting.train).get(name)}" for name in group.differing]
    return " ".join(parts) or "defaults"


def number(found: Interval, *, places: int = 3, spread: bool = True) -> str:
    """Return «0.312 ± 0.020», with * where the interval knows one seed only, and a dash where nothing was measured."""
    if math.isnan(found.mean):
        return "–"
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
    rank = 0
    for setting in ranked(group):
        rank += setting.best
        cells = _cells(group, setting, rank)
        bold = [f"**{cell}**" if setting.best and cell and at in (1, 2, 3) else cell for at, cell in enumerate(cells)]
        lines.append(f"| {' | '.join(bold)} |")
    return head + "\n".join(lines) + "\n\n" + NOTES.format(beta0=group.beta0)


def _cells(group: Group, setting: Setting, rank: int) -> list[str]:
    test = setting.test
    gap = difference_to_first(group, setting)
    return [
        str(rank) if setting.best else "",
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
        return "–"
    return number(gap) + (" (tie)" if gap.low <= 0 <= gap.high else "")


def _troubles(setting: Setting) -> str:
    runs = {record.key: record.status for record in (*setting.validation, *setting.test)}
    bad = {status: sum(s == status for s in runs.values()) for status in sorted(set(runs.values()) - {"completed"})}
    return ", ".join(f"{count} of {len(runs)} {status}" for status, count in bad.items())


def _percent(share: Interval) -> Interval:
    return Interval(100 * share.mean, 100 * share.low, 100 * share.high, share.source, share.n)

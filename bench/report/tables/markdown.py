"""Leaderboard in Markdown: a section for each group, with the terms of its protocol."""

import re
from collections.abc import Sequence

from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.comparison import Comparison
from bench.report.analysis.correction import correction_texts
from bench.report.analysis.warnings import warnings_of
from bench.report.tables.column import Column, Entry, Output, entries, objective_entries
from bench.report.tables.columns import FLAGGED, is_degenerate, output_columns
from bench.report.tables.tasks import tasks_markdown
from bench.report.tables.text import reward_label, target_meaning, terms_text

BOLD = ("objective", "setting", "target")
"""Columns that are bold in the row of an objective's chosen setting."""
FLAG = " ⚠"
NOTES = """\
- **Bold**: the setting of each objective that its mean target on *validation* prompts chose. Test numbers choose
  nothing.
- Ranked by the target on *test* prompts, {target}. KL is in nats per
  completion, of a model's own samples, to the start model.
- `±`: half of the 95 % interval. For target, {reward} and KL it covers new seeds and new prompts together (each seed
  is scored on the same prompts: a two-way model with random effects); where a run has no scores
  of single prompts, and for win rates, Student's t over seeds. With `*`, from one seed only: new prompts, and not what
  another seed would change.
- *verdict*: against the first row. *worse*: lower; *equal*: within {margin} of it; *undecided*: neither is shown. Over
  all pairs of the table the chance of any wrong «worse» or «better» is 5 %, and that of any wrong «equal». One seed
  decides nothing.
- *to first*: target minus that of the first row, paired over seeds and prompts. The intervals hold together, for all
  pairs at once with 95 %. *p*: of no difference, with Holm's correction. With `*`, of one seed: that tells two runs
  apart, and not two objectives. A dash: the runs cannot tell. *to start*, *than start*: the same against the start
  model, a family of its own.
- *run*: the key of the row's first run, for `bench export run:KEY`, and how many more there are.
- *beats {baseline}*: probability that a sample of this row has a higher target than one of {baseline} on the same
  prompt (equal counts half), with its 95 % interval for new seeds and prompts.
- Rows without a test target were tried on validation prompts alone. Runs that diverged, were pruned or failed stay in
  the table, and are left out of the means.{flagged}
"""
FLAGGED_NOTE = """
- ⚠: more than {flagged:g} % of the test samples are no answers: empty, the prompt again, one token throughout, or what
  another prompt got too. A high score may be an exploit of the reward."""
SWEEP_NOTES = """\
- Means over seeds on *validation* prompts, over the settings that each objective tried: target of the best, the median
  and the worst one, runs that did not complete left out.
- *reward at KL ≤ k*: the best {reward} of a setting whose KL is k nats or less. *area*: what the frontier of reward
  and KL dominates up to {widest:g} nats and above the start model's reward, in nats × reward.
- *what mattered*: each searched parameter's share of the target's variance over the sweep (functional ANOVA).
"""


def leaderboard_markdown(comparisons: Sequence[Comparison]) -> str:
    """Return the leaderboard as Markdown: a section for each group, since numbers of two protocols do not compare."""
    if not comparisons:
        return "# Leaderboard\n\nThere are no finished runs yet. `bench run` makes one.\n"
    return "# Leaderboard\n\n" + "\n".join(_section(comparison) for comparison in comparisons)


def _section(comparison: Comparison) -> str:
    group = comparison.group
    head = f"## {group.suite} (version {group.suite_version})\n\n"
    # what the records cost varies by machine, and this file does not
    head += f"**{_prose(comparison.verdict.text)}**\n\n"
    head += "".join(f"- {_prose(warning)}\n" for warning in warnings_of(comparison)) + "\n"
    head += f"Start model {_code(group.model)}, data {_code(group.data)}.\n\n"
    head += f"Protocol `{group.protocol}`: {terms_text(group.tuning)}.\n"
    table = _table(output_columns(group, "markdown"), comparison, entries(comparison), output="markdown")
    flagged = any(is_degenerate(setting) for setting in (*group.settings, *([group.start] if group.start else [])))
    notes = NOTES.format(
        target=target_meaning(group),
        reward=reward_label(group),
        baseline=comparison.baseline or "the baseline",
        margin=f"{comparison.verdict.margin:g}",
        flagged=FLAGGED_NOTE.format(flagged=100 * FLAGGED) if flagged else "",
    )
    notes += "".join(f"- {agreement_text(agreement)}.\n" for agreement in judges_agree(group))
    notes += "".join(f"- {text}.\n" for text in correction_texts(group))
    notes += tasks_markdown(comparison.tasks)
    return f"{head}\n{table}\n{notes}\n### What the sweeps say\n\n{_sweeps(comparison)}"


def _sweeps(comparison: Comparison) -> str:
    columns = output_columns(comparison.group, "sweeps")
    table = _table(columns, comparison, objective_entries(comparison), output="sweeps")
    return table + "\n" + SWEEP_NOTES.format(widest=comparison.budgets[-1], reward=reward_label(comparison.group))


def _table(columns: Sequence[Column], comparison: Comparison, rows: Sequence[Entry], *, output: Output) -> str:
    rule = "|".join("---:" if column.numeric else "---" for column in columns)
    lines = [f"| {' | '.join(column.heading(comparison, output) for column in columns)} |", f"|{rule}|"]
    for entry in rows:
        cells = (_cell(column, entry, output) for column in columns)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(column: Column, entry: Entry, output: Output) -> str:
    text = column.text(entry, output)
    if output == "sweeps":
        return text
    text += FLAG if column.key == "objective" and is_degenerate(entry.setting) else ""
    return f"**{text}**" if entry.setting.best and column.key in BOLD else text


def _code(name: str) -> str:
    """Return a name as a code span, in which nothing is markup: a backtick, which would end it, is an apostrophe."""
    return f"`{' '.join(name.split()).replace('`', chr(39))}`"


def _prose(text: str) -> str:
    """Return a sentence as Markdown: signs of markup in names of objectives are signs."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text).replace("<", "&lt;")

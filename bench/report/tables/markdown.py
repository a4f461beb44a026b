"""The leaderboard in Markdown: a section for each group, with the terms on which it was made."""

from collections.abc import Sequence

from bench.core.record import START
from bench.report.analysis.agreement import agreement_text, judges_agree
from bench.report.analysis.columns import FLAGGED, is_degenerate, shares_of
from bench.report.analysis.compared import Compared, Row, score_interval
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting, interval, values
from bench.report.tables.gain import no_gain_text
from bench.report.tables.text import (
    NOTHING,
    letters_text,
    number,
    p_text,
    percent,
    reward_label,
    setting_text,
    target_label,
    target_meaning,
    target_short,
    terms_text,
    troubles,
)
from bench.stats.intervals import Interval

FLAG = " ⚠"
NOTES = """\
- **Bold**: the setting of each objective that its mean target on *validation* prompts chose. Test numbers choose
  nothing.
- Ranked by the target on *test* prompts, {target}. KL is in nats per
  completion, of a model's own samples, to the start model.
- `±`: half of the 95 % interval. For target, gold reward and KL it covers new seeds and new prompts together (each seed
  is scored on the same prompts: a two-way model with random effects); where a run has no scores
  of single prompts, and for win rates, Student's t over seeds. With `*`, from one seed only: new prompts, and not what
  another seed would change.
- *ties*: objectives that share a letter are not told apart. Each pair was tested on its common seeds and prompts
  (paired), and Holm's correction over all pairs keeps the chance of any wrong difference in the table at 5 %.
- *to first*: target minus that of the first row, paired, with the 95 % interval of this difference alone; *p*: of no
  difference, with Holm's correction. With `*`, of one seed: that tells two runs apart, and not yet two objectives. A
  dash: the runs cannot tell.
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
- *reward at KL ≤ k*: the best gold reward of a setting whose KL is k nats or less. *area*: what the frontier of reward
  and KL dominates up to {widest:g} nats and above the start model's reward, in nats × reward.
- *what mattered*: each searched parameter's share of the target's variance over the sweep (functional ANOVA).
"""


def leaderboard_markdown(groups: Sequence[Compared]) -> str:
    """Return the leaderboard as Markdown: a section for each group, since numbers of two protocols do not compare."""
    if not groups:
        return "# Leaderboard\n\nThere are no finished runs yet. `bench run` makes one.\n"
    return "# Leaderboard\n\n" + "\n".join(_section(group) for group in groups)


def _section(compared: Compared) -> str:
    group = compared.group
    head = f"## {group.suite} (version {group.suite_version})\n\n"
    head += f"Start model {_code(group.model)}, data {_code(group.data)}.\n\n"
    head += f"Protocol `{group.protocol}`: {terms_text(group.tuning)}.\n"
    beats = f"beats {compared.baseline or 'baseline'} [%]"
    names = ["rank", "objective", "setting", target_label(group), "ties", "to first", "p", beats, reward_label(group)]
    names += ["KL [nats]", "win rate [%]", "reward accuracy", "length", "BLiMP [%]"]
    names += [f"{task} [%]" for task, _ in shares_of(group)]
    names += [f"validation {target_short(group)}", "seeds"]
    names += ["runs that ended badly"]
    rows = []
    for setting in ranked(group):
        cells = _cells(group, setting, compared.rows[setting.objective] if setting.best else None)
        rows.append([f"**{cell}**" if setting.best and at in (1, 2, 3) else cell for at, cell in enumerate(cells)])
    flagged = any(is_degenerate(setting) for setting in (*group.settings, *([group.start] if group.start else [])))
    notes = NOTES.format(
        target=target_meaning(group),
        baseline=compared.baseline or "the baseline",
        flagged=FLAGGED_NOTE.format(flagged=100 * FLAGGED) if flagged else "",
    )
    table = _table(names, rows, left=(1, 2, 4))
    gained_nothing = no_gain_text(group)
    notes += f"- **N{gained_nothing[1:]}.**\n" if gained_nothing else ""
    notes += "".join(f"- {agreement_text(found)}.\n" for found in judges_agree(group))
    return f"{head}\n{table}\n{notes}\n### What the sweeps say\n\n{_sweeps(compared)}"


def _cells(group: Group, setting: Setting, row: Row | None) -> list[str]:
    test = setting.test
    return [
        "" if row is None or row.rank is None else str(row.rank),
        setting.objective + (FLAG if is_degenerate(setting) else ""),
        "untrained" if setting.objective == START else setting_text(setting, group),
        number(score_interval(test)),
        "" if row is None else letters_text(row.letters),
        "" if row is None else number(row.to_first.difference),
        "" if row is None else p_text(row.to_first),
        "" if row is None else _span(percent(row.improvement)),
        number(score_interval(test, name="gold_reward")),
        number(score_interval(test, name="kl"), places=1),
        number(interval(test, "win_rate", task="judge"), places=1),
        number(interval(test, "accuracy", task="preference"), spread=bool(group.judges)),
        number(interval(test, "length", task="generation"), places=1, spread=False),
        number(percent(interval(test, "acc", task="blimp")), places=1, spread=False),
        *(number(percent(interval(test, name, task=task)), places=1) for task, name in shares_of(group)),
        number(interval(setting.validation, "target"), spread=False),
        f"{len(values(test, 'target'))}" if test else f"{len(values(setting.validation, 'target'))} (validation)",
        troubles(setting),
    ]


def _sweeps(compared: Compared) -> str:
    names = ["objective", "settings", *(f"{w} {target_short(compared.group)}" for w in ("best", "median", "worst"))]
    names += [f"reward at KL ≤ {budget:g}" for budget in compared.budgets] + ["area", "what mattered"]
    rows = []
    for name, row in compared.rows.items():
        found = row.sensitivity
        numbers = (found.best, found.median, found.worst, *row.reward_at_kl, row.hypervolume)
        mattered = sorted(row.importances.items(), key=lambda pair: (-pair[1], pair[0]))
        said = ", ".join(f"{parameter} {100 * share:.0f} %" for parameter, share in mattered) or NOTHING
        rows.append([name, str(found.n), *map(_plain, numbers), said])
    return _table(names, rows, left=(0, len(names) - 1)) + "\n" + SWEEP_NOTES.format(widest=compared.budgets[-1])


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    rule = "|".join("---" if at in left else "---:" for at in range(len(names)))
    return (
        "\n".join(
            [
                f"| {' | '.join(names)} |",
                f"|{rule}|",
                *(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows),
            ]
        )
        + "\n"
    )


def _span(found: Interval) -> str:
    """Return a number with the bounds of its interval, which need not lie evenly about it: «62 (55–70)»."""
    text = number(found, places=0, spread=False)
    return text if text == NOTHING else f"{text} ({found.low:.0f}–{found.high:.0f})"


def _plain(value: float) -> str:
    return number(Interval(value, value, value, "none", 0), spread=False)


def _code(name: str) -> str:
    """Return a name as a code span, in which nothing is markup: a backtick, which would end it, is an apostrophe."""
    return f"`{' '.join(name.split()).replace('`', chr(39))}`"

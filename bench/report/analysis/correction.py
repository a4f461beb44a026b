"""What a strong judge of a part of the test prompts gained by the first judge's correction, in a line."""

import numpy as np

from bench.core.record import judge_task
from bench.report.analysis.settings import Group, values


def correction_texts(group: Group) -> list[str]:
    """Return a line on the group's strong judge: what it saw, and how wide intervals are with and without the first.

    Nothing where there is no strong judge, or no test record has its verdicts yet.
    """
    strong = next((r.evaluation.strong for r in group.records if r.evaluation.strong is not None), None)
    if strong is None:
        return []
    task = judge_task(strong.name, group.judges)
    tested = [record for setting in group.settings for record in setting.test]
    counts = values(tested, "strong_verdicts", task=task)
    if not counts:
        return []
    names = ("strong_verdicts", "half_width", "half_width_alone", "ppi_lambda")
    mean = {name: float(np.mean([metric.value for metric in values(tested, name, task=task)])) for name in names}
    prompts = max(metric.n for metric in counts)
    share = f"{mean['strong_verdicts']:.0f} of {prompts} test prompts of each run"
    helped = mean["half_width"] < mean["half_width_alone"]
    note = "" if helped else "; the correction did not help: more prompts, or a first judge that agrees with it more"
    return [
        f"judge {strong.name} saw {share}, at random, and {group.judges[0]} all: its win rates are "
        f"± {mean['half_width']:.1f} points on new prompts (± {mean['half_width_alone']:.1f} by its own verdicts; "
        f"λ {mean['ppi_lambda']:.2f}; prediction-powered inference){note}"
    ]

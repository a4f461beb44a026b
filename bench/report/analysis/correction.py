"""What a strong judge of a part of the test prompts gained by the first judge's correction, in a line."""

import math

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
    mean = {
        name: float(np.mean([metric.value for metric in found]))
        if (found := values(tested, name, task=task))
        else math.nan
        for name in ("strong_verdicts", "half_width", "half_width_alone", "ppi_lambda")
    }
    if math.isnan(mean["strong_verdicts"]):
        return []
    prompts = max(metric.n for metric in values(tested, "strong_verdicts", task=task))
    return [
        f"judge {strong.name} saw {mean['strong_verdicts']:.0f} of {prompts} test prompts of each run, at random, and "
        f"{group.judges[0]} the others: its win rates are ± {mean['half_width']:.1f} points on new prompts "
        f"(± {mean['half_width_alone']:.1f} by its own verdicts; λ {mean['ppi_lambda']:.2f}; prediction-powered inference)"
    ]

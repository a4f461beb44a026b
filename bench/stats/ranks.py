"""Average ranks over blocks, and the test that they are all one."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_ranks(scores: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Return the mean rank of each name over blocks: 1 is the highest score of a block, ties share their mean rank.

    ``scores`` gives each name's score in every block (a seed, a prompt, a task). NaN, a run that diverged, ranks last.
    Raises ValueError where the numbers of blocks differ or are none.
    """
    from scipy.stats import rankdata

    table = _table(scores)
    return dict(zip(scores, map(float, rankdata(-table, axis=0).mean(axis=1)), strict=True))


def friedman(scores: Mapping[str, ArrayLike]) -> float:
    """Return the p-value of Friedman's test that no name ranks higher than another; 1 where all blocks are ties.

    The chi-square approximation, corrected for ties (Friedman 1937). Of two names it is the sign test, which is taken
    exactly. Raises ValueError for fewer than two names, or numbers of blocks that differ.
    """
    from scipy.stats import binomtest, friedmanchisquare

    table = _table(scores)
    if len(table) < 2:
        raise ValueError(f"a test of ranks needs two names or more; got {list(scores)}")
    if (table == table[0]).all():
        return 1.0
    if len(table) == 2:
        won, lost = int((table[0] > table[1]).sum()), int((table[0] < table[1]).sum())
        return float(binomtest(won, won + lost).pvalue)
    return float(friedmanchisquare(*table).pvalue)


def _table(scores: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    rows = [np.asarray(row, dtype=np.float64).ravel() for row in scores.values()]
    if not rows or len({len(row) for row in rows}) > 1 or not len(rows[0]):
        raise ValueError(f"ranks need the same blocks of all; got {dict(zip(scores, map(len, rows), strict=True))}")
    table = np.stack(rows)
    return np.where(np.isnan(table), -np.inf, table)

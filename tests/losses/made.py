"""Small batches for the tests of the objectives, made from lists of numbers; which objectives are built in."""

from dataclasses import replace

import torch

from losses import Completion, Pairs, Ranked, Singles, get, names

torch.set_num_threads(1)
BUILT_IN = tuple(name for name in names() if get(name).fn.__module__.startswith("losses.objectives."))
BOTH = ("policy_logps", "reference_logps")


def completion(*rows, fields=BOTH):
    """Rows of tokens, each a tuple of ``fields``; padded on the right with values that must not count."""
    width = max(map(len, rows)) + 1
    padded = torch.full((len(fields), len(rows), width), -777.0, dtype=torch.float64)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        padded[:, i, : len(row)] = torch.tensor(row, dtype=torch.float64).T
        mask[i, : len(row)] = True
    return Completion(mask=mask, **{"reference_logps": None, **dict(zip(fields, padded, strict=True))})


def with_ratio(log_ratio, *, length=1):
    """One completion whose tokens share the given sum of log-ratios evenly."""
    return completion([(log_ratio / length - 9, -9.0)] * length)


def one_pair(chosen_ratio, rejected_ratio, *, length=1, score_gap=None):
    gap = None if score_gap is None else torch.tensor([score_gap], dtype=torch.float64)
    return Pairs(with_ratio(chosen_ratio, length=length), with_ratio(rejected_ratio, length=length), gap)


def at_rest(pairs):
    """The pairs with the policy's vocabulary where the reference's is, which is half as uncertain as it could be."""
    sides = (
        replace(
            side,
            token_kl=torch.zeros_like(side.policy_logps),
            reference_entropy=torch.full_like(side.policy_logps, 0.5),
        )
        for side in (pairs.chosen, pairs.rejected)
    )
    return Pairs(*sides, pairs.score_gap)


def ragged_pairs():
    """Four pairs of many signs and lengths, with all that a paired objective can require."""
    fields = (*BOTH, "token_kl", "reference_entropy", "log_collision")
    chosen = [
        [(-1, -2.5, 0.3, 0.6, -0.7), (-0.4, -0.9, 0.1, 0.32, -0.2), (-2, -1.1, 0.6, 0.8, -1.4)],
        [(-4, -1, 1.2, 0.16, -0.1)],
        [(-0.3, -0.2, 0.2, 0.36, -0.5), (-1.7, -1.9, 0.4, 0.44, -0.3)],
        [(-2.2, -2.9, 0.5, 0.76, -0.9), (-0.6, -0.1, 0.7, 0.08, -0.6)],
    ]
    rejected = [
        [(-0.2, -0.7, 0.1, 0.28, -0.4)],
        [(-3, -3.5, 0.9, 0.52, -1.1), (-1.3, -0.8, 0.3, 0.4, -0.8), (-0.9, -2, 0.2, 0.68, -0.2)],
        [(-1.5, -0.4, 0.8, 0.2, -1.0), (-2.4, -2.1, 0.2, 0.88, -0.6)],
        [(-0.8, -1.6, 0.4, 0.24, -0.3), (-3.1, -2, 1.0, 0.56, -1.2), (-0.5, -0.6, 0.1, 0.12, -0.7)],
    ]
    score_gap = torch.tensor([0.4, 1.0, 2.5, 0.1], dtype=torch.float64)
    return Pairs(completion(*chosen, fields=fields), completion(*rejected, fields=fields), score_gap)


def singles(pairs):
    """The completions of pairs one by one, all chosen ones first; no KL baseline but zero."""
    rows = [side_rows(side) for side in (pairs.chosen, pairs.rejected)]
    wanted = torch.tensor([True] * pairs.examples + [False] * pairs.examples)
    return Singles(completion(*rows[0], *rows[1]), wanted, torch.tensor(0.0, dtype=torch.float64))


def ranked(pairs, *, score_gap=1.0):
    """Pairs as rankings of two, the chosen one first."""
    rows = [row for both in zip(side_rows(pairs.chosen), side_rows(pairs.rejected), strict=True) for row in both]
    scores = torch.tensor([[score_gap, 0.0]] * pairs.examples, dtype=torch.float64)
    return Ranked(completion(*rows), scores)


def side_rows(side):
    """The rows that ``completion`` would make this side of, without its padding."""
    both = torch.stack((side.policy_logps, side.reference_logps), dim=-1).detach()
    return [both[i][side.mask[i]].tolist() for i in range(len(side.mask))]

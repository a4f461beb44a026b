"""The linear probe: a direction in the residual stream that separates two classes of texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from bench.errors import UsageError
from bench.inspect.decoder import Decoder
from bench.inspect.hooks import Text, batches_of, record_activations, run_backbone
from bench.stats.verdict_agreement import wilson

FOLDS = 5
"""Number of folds of groups: the last one is held out, the others choose the penalty by cross-validation."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
LEAST = 10
"""Texts of a class below which no probe is trained."""
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """A probe: ``w [hidden]`` of length 1, pointing to the positive class; ``layer`` (from 1) after which it reads.

    ``accuracy`` is that on the held-out texts, whose indices are ``held_out``, with its 95 % interval ``low`` to
    ``high``; ``chance`` what naming the more frequent class there would be right on. ``trained_on``: number of other
    texts.
    """

    w: Array
    layer: int
    accuracy: float
    low: float
    high: float
    chance: float
    trained_on: int
    held_out: tuple[int, ...]
    penalty: float


def train_probe(decoder: Decoder, texts: Sequence[Text], *, layer: int | None) -> Direction:
    """Train a logistic regression on each text's mean residual state, over its counted tokens, after a layer.

    The stream is read before the final norm, since only there do the MLPs' outputs add up. States are centred and
    scaled by one number, so that directions stay what they are; the L2 penalty is the best of four by cross-validation
    over groups.

    Args:
        layer: from 1; None: the last one.

    Raises:
        UsageError: no such layer, or too few texts of a class.
    """
    chosen = len(decoder.layers) if layer is None else layer
    if not 1 <= chosen <= len(decoder.layers):
        raise UsageError(
            f"--layer must be from 1 to {len(decoder.layers)} (got {layer})", fix=f"--layer {len(decoder.layers)}"
        )
    labels = np.array([bool(text.label) for text in texts])
    counts = (int(labels.sum()), int((~labels).sum()))
    if min(counts) < LEAST:
        raise UsageError(
            f"the probe has {counts[0]} positive and {counts[1]} negative texts", fix=f"give at least {LEAST} of each"
        )
    return fit_direction(
        mean_states(decoder, texts, layer=chosen), labels, np.array([text.group for text in texts]), layer=chosen
    )


def mean_states(decoder: Decoder, texts: Sequence[Text], *, layer: int) -> Array:
    """Return each text's mean state over its counted tokens, ``[texts, hidden]``, after ``layer`` (from 1)."""
    states = np.empty((len(texts), decoder.shape[0][1]))
    with record_activations(decoder, states=True) as trace:
        for batch in batches_of(texts, decoder):
            run_backbone(decoder, batch)
            weight = batch.counted[..., None].float()
            means = (trace.states[layer - 1] * weight).sum(dim=1) / weight.sum(dim=1)
            states[list(batch.rows)] = means.double().cpu().numpy()
    return states


def fit_direction(features: Array, labels: NDArray[np.bool_], groups: NDArray[np.int64], *, layer: int) -> Direction:
    """Fit the probe to ``features [texts, hidden]``; texts of one group are on one side of every split.

    Raises:
        UsageError: a class is not in both parts of the split.
    """
    order = {group: index for index, group in enumerate(dict.fromkeys(groups.tolist()))}
    fold = np.array([order[group] for group in groups.tolist()]) % FOLDS
    held_out = fold == FOLDS - 1
    if len({*labels[held_out]}) < 2 or any(len({*labels[~held_out & (fold != one)]}) < 2 for one in range(FOLDS - 1)):
        raise UsageError(
            "the probe's texts have too few prompts: a part of the split lacks a class",
            fix=f"give texts of at least {4 * FOLDS} prompts, of both classes",
        )
    x, y = features[~held_out], labels[~held_out]
    middle = x.mean(axis=0)
    scale = float(np.sqrt(((x - middle) ** 2).mean())) or 1.0
    scaled = (features - middle) / scale

    def score(penalty: float) -> float:
        right = 0.0
        for one in range(FOLDS - 1):
            rest, left = ~held_out & (fold != one), ~held_out & (fold == one)
            w, b = fit_logistic(scaled[rest], labels[rest], penalty=penalty)
            right += float(((scaled[left] @ w + b > 0) == labels[left]).sum())
        return right

    penalty = max(reversed(PENALTIES), key=score)  # of equal ones the strongest
    w, b = fit_logistic(scaled[~held_out], y, penalty=penalty)
    length = float(np.linalg.norm(w))
    if length == 0:
        raise UsageError("the probe finds no difference between the two classes", fix="give texts that differ")
    accuracy = float(((scaled[held_out] @ w + b > 0) == labels[held_out]).mean())
    share = float(labels[held_out].mean())
    low, high = accuracy_interval(accuracy, independent=len(set(groups[held_out].tolist())))
    return Direction(
        w=w / length,
        layer=layer,
        accuracy=accuracy,
        low=low,
        high=high,
        chance=max(share, 1 - share),
        trained_on=int((~held_out).sum()),
        held_out=tuple(np.flatnonzero(held_out).tolist()),
        penalty=penalty,
    )


def accuracy_interval(accuracy: float, *, independent: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of right texts.

    Args:
        independent: groups of texts. Texts of one prompt may be right or wrong together, so a group counts once: the
            interval is never too narrow, whatever they have in common.
    """
    bounded = wilson(accuracy * independent, independent)
    return bounded.low, bounded.high


def fit_logistic(x: Array, labels: NDArray[np.bool_], *, penalty: float) -> tuple[Array, float]:
    """Return the weights and bias that minimise mean log(1 + exp(−±(x·w + b))) + penalty · ‖w‖² / 2."""
    sign = np.where(labels, 1.0, -1.0)

    def loss(point: Array) -> tuple[float, Array]:
        w, b = point[:-1], point[-1]
        margin = sign * (x @ w + b)
        slope = -sign * np.exp(-np.logaddexp(0.0, margin)) / len(x)
        gradient = np.append(x.T @ slope + penalty * w, slope.sum())
        return float(np.logaddexp(0.0, -margin).mean() + 0.5 * penalty * w @ w), gradient

    solution = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return solution[:-1], float(solution[-1])


def direction_tensor(direction: Direction, device: torch.device) -> torch.Tensor:
    """Return the probe's direction as float32 ``[hidden]``."""
    return torch.tensor(direction.w, dtype=torch.float32, device=device)

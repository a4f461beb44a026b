"""The win rate against the reference's outputs, through alpaca-eval judged by a score of texts."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.record import JUDGE, Metric
from bench.errors import RunError
from bench.utils.isolation import offline, quiet, same_environment, same_generators

Array = NDArray[np.float64]
ANNOTATOR = "score:\n  prompt_template: prompt.txt\n"
LENGTH_PENALTY = 1e-2
"""Ridge on the length coefficient: a prior of standard deviation 10. Finite where length alone decides each win."""


@dataclass(frozen=True, kw_only=True)
class JudgeResult:
    """Win rates in percent, 0 to 100 (50: as good as the reference), their standard errors, mean lengths in characters.

    A standard error is None for a single pair.
    """

    win_rate: float
    stderr: float | None
    lc_win_rate: float
    lc_stderr: float | None
    n: int
    wins: int
    ties: int
    mean_length: float


def win_rate(
    *,
    instructions: Sequence[str],
    outputs: Sequence[str],
    references: Sequence[str],
    output_scores: Sequence[float],
    reference_scores: Sequence[float],
) -> JudgeResult:
    """Compare outputs with references of the same instructions through ``alpaca_eval.evaluate``.

    The judge is a score of texts (the gold reward): its label is the sign of the score difference, in alpaca-eval's
    code: 2 where the output wins, 1 where the reference wins, 1.5 for a tie, which counts half (alpaca-eval itself
    makes equal texts a tie). A label, not the probability σ(difference): the score decides with certainty, and a soft
    label would measure the margin, which the mean score already does, and shrink the rate towards 50.

    No key is needed, no hub or network is touched, nothing is cached, and the order of the two texts, which
    alpaca-eval shuffles for judges that are biased by it, is kept.

    Raises:
        ValueError: sequences of different length, empty ones, or a score that is not a finite number.
        RunError: alpaca-eval failed, or left a pair without a label.
    """
    counts = [len(column) for column in (instructions, outputs, references, output_scores, reference_scores)]
    if len(set(counts)) > 1 or not counts[0]:
        raise ValueError(
            "instructions, outputs, references and both scores must be equally many, at least 1; "
            f"given: {', '.join(map(str, counts))}"
        )
    difference = np.asarray(output_scores, dtype=np.float64) - np.asarray(reference_scores, dtype=np.float64)
    if not np.isfinite(difference).all():
        pair = int(np.argmin(np.isfinite(difference)))
        raise ValueError(
            f"pair {pair} has the scores {output_scores[pair]}, {reference_scores[pair]}: not finite numbers"
        )
    preferences = 0.5 + 0.5 * np.sign(difference)
    return preference_win_rate(
        instructions=instructions, outputs=outputs, references=references, preferences=preferences
    )


def preference_win_rate(
    *, instructions: Sequence[str], outputs: Sequence[str], references: Sequence[str], preferences: Array
) -> JudgeResult:
    """Return the win rates that ``alpaca_eval.evaluate`` makes of judged pairs. It makes equal texts a tie.

    Args:
        preferences: probability that the output is better, ``[pairs]``, at least one.

    Raises:
        RunError: alpaca-eval failed, or left a pair without a label.
    """
    row, recorded = _through_alpaca_eval(
        outputs, references, instructions=instructions, labels=1.0 + np.asarray(preferences, dtype=np.float64)
    )
    if len(recorded) != len(outputs) or np.isnan(recorded).any():
        raise RunError("alpaca-eval left pairs without a label", fix="check that alpaca-eval 0.6.6 is installed")
    lengths = np.array([len(text) for text in outputs], dtype=np.float64)
    reference_lengths = np.array([len(text) for text in references], dtype=np.float64)
    controlled, error = length_controlled(recorded, lengths - reference_lengths)
    many = len(outputs) > 1
    return JudgeResult(
        win_rate=float(row["win_rate"]),
        stderr=float(row["standard_error"]) if many else None,
        lc_win_rate=controlled,
        lc_stderr=error if many else None,
        n=len(outputs),
        wins=int(row["n_wins"]),
        ties=int(row["n_draws"]),
        mean_length=float(lengths.mean()),
    )


def _through_alpaca_eval(
    outputs: Sequence[str], references: Sequence[str], *, instructions: Sequence[str], labels: Array
) -> tuple[Mapping[str, float], Array]:
    """Return the leaderboard's row of ``alpaca_eval.evaluate``, and the preferences that it recorded, NaN where none.

    Pairs are matched by a ``row`` number: instructions may repeat, and alpaca-eval would pair each with each. The
    number is also the whole prompt, which the completion function looks the label up by.
    """

    def complete(prompts: Sequence[str]) -> dict[str, list[float]]:
        return {"completions": [float(labels[int(prompt)]) for prompt in prompts]}

    def table(texts: Sequence[str], generator: str) -> list[dict[str, str]]:
        return [
            {"row": f"{number:09d}", "instruction": instruction, "output": text, "generator": generator}
            for number, (instruction, text) in enumerate(zip(instructions, texts, strict=True))
        ]

    with (
        quiet(),
        same_environment(),
        same_generators(),
        offline(),
        tempfile.TemporaryDirectory() as folder,
    ):
        annotator = Path(folder) / "score"
        annotator.mkdir()
        (annotator / "configs.yaml").write_text(ANNOTATOR, encoding="utf-8")
        (Path(folder) / "prompt.txt").write_text("{row}", encoding="utf-8")
        try:
            import alpaca_eval

            leaderboard, annotations = alpaca_eval.evaluate(
                model_outputs=table(outputs, "policy"),
                reference_outputs=table(references, "reference"),
                annotators_config=annotator,
                name="policy",
                output_path=None,
                precomputed_leaderboard=None,
                is_return_instead_of_print=True,
                fn_metric="get_winrate",
                sort_by="win_rate",
                annotation_kwargs={"chunksize": None},
                # From here on: arguments of alpaca-eval's annotator.
                input_keys=("row",),
                caching_path=None,
                is_avoid_reannotations=False,
                is_randomize_output_order=False,
                fn_completions=complete,
                fn_completion_parser=_as_label,
            )
        except Exception as error:
            raise RunError(
                f"alpaca-eval failed: {type(error).__name__}: {error}",
                fix="check that alpaca-eval 0.6.6 and setuptools<81 are installed",
            ) from error
    preferences = np.array([float(annotation["preference"] or math.nan) for annotation in annotations]) - 1.0
    return leaderboard.loc["policy"].to_dict(), preferences


def _as_label(completion: float) -> list[float]:
    return [completion]


def length_controlled(preferences: Array, length_difference: Array) -> tuple[float, float]:
    """Return the length-controlled win rate and its standard error (NaN for a single pair), both in percent.

    As AlpacaEval 2 (arXiv 2404.04475): a logistic regression of the preference on tanh(length difference ÷ its
    standard deviation) and an intercept, then the prediction at no length difference: 100·σ(intercept). Antisymmetric:
    swapping the two models gives 100 − x. The standard error is the delta method's, from the robust (sandwich)
    covariance, which holds for ties too.

    Differs from the official one, which cannot be computed here: its term for each instruction's difficulty and its
    regularisation towards other models' results need files of AlpacaEval's own 805 instructions from the hub, and its
    L1 penalty is chosen by cross-validation. Here only the length coefficient is penalised, and weakly.

    Args:
        preferences: 1 the output wins, 0 the reference wins, 0.5 tie, ``[pairs]``.
        length_difference: length of the output − of the reference, any unit, ``[pairs]``.
    """
    if _uncontrollable(preferences, length_difference):
        error = preferences.std(ddof=1) / math.sqrt(len(preferences)) if len(preferences) > 1 else math.nan
        return 100.0 * float(preferences.mean()), 100.0 * float(error)
    rate, moves = _controlled(preferences, length_difference)
    return 100.0 * rate, 100.0 * math.sqrt(float((moves**2).sum()))


def length_controlled_values(preferences: Array, length_difference: Array) -> Array:
    """Return one value for each pair, in percent, whose mean is the length-controlled win rate.

    A pair's value is that rate and the pair's influence on it (n times what the pair moves it, to first order), so that
    the values' spread ÷ √n is the rate's sandwich standard error, and rates of two models on the same prompts can be
    compared pair by pair. Values may lie outside of 0 to 100. Without control they are the preferences themselves.

    Args:
        preferences: probability that the output is better, ``[pairs]``.
        length_difference: length of the output − of the reference, any unit, ``[pairs]``.
    """
    if _uncontrollable(preferences, length_difference):
        return 100.0 * preferences
    rate, moves = _controlled(preferences, length_difference)
    # The ridge on the length leaves a trace in the mean, which the rate has not.
    return 100.0 * (rate + len(preferences) * (moves - moves.mean()))


def _uncontrollable(preferences: Array, length_difference: Array) -> bool:
    """Return whether there is nothing to control for, or an intercept would run to ±∞: the rate stays as it is."""
    return len(preferences) < 2 or float(length_difference.std(ddof=1)) == 0.0 or preferences.mean() in (0.0, 1.0)


def _controlled(preferences: Array, length_difference: Array) -> tuple[float, Array]:
    """Return the length-controlled rate (0 to 1), and what each pair moves it, to first order, ``[pairs]``."""
    from scipy.optimize import minimize
    from scipy.special import expit

    deviation = float(length_difference.std(ddof=1))
    design = np.column_stack([np.ones(len(preferences)), np.tanh(length_difference / deviation)])
    ridge = np.array([0.0, LENGTH_PENALTY])

    def loss(weights: Array) -> tuple[float, Array]:
        logits = design @ weights
        value = np.logaddexp(0.0, logits).sum() - preferences @ logits + 0.5 * ridge @ weights**2
        return float(value), design.T @ (expit(logits) - preferences) + ridge * weights

    weights = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    predicted = expit(design @ weights)
    bread = np.linalg.inv((design * (predicted * (1 - predicted))[:, None]).T @ design + np.diag(ridge))
    moves = (design * (preferences - predicted)[:, None]) @ bread[:, 0]
    rate = float(expit(weights[0]))
    return rate, rate * (1 - rate) * moves


def judge_metrics(result: JudgeResult, *, split: str) -> tuple[Metric, ...]:
    """Return the metrics of task "judge": both win rates in percent, and the outputs' mean length in characters."""

    def metric(name: str, value: float, error: float | None, better: bool | None) -> Metric:
        return Metric(
            task=JUDGE, split=split, name=name, value=value, stderr=error, n=result.n, higher_is_better=better
        )

    return (
        metric("win_rate", result.win_rate, result.stderr, True),
        metric("lc_win_rate", result.lc_win_rate, result.lc_stderr, True),
        metric("judge_length", result.mean_length, None, None),
    )

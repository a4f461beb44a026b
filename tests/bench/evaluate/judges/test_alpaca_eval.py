"""The win rate through alpaca-eval, and the length-controlled one."""

import logging
import os
import socket

import numpy as np
import pytest

from bench.evaluate.judges.alpaca_eval import judge_metrics, length_controlled, length_controlled_values, win_rate


def quality(texts):
    """A judge that reads a text's quality off its first character."""
    return [float(text[0]) for text in texts]


def compare(outputs, references, instructions=None):
    return win_rate(
        instructions=instructions or [f"i{n}" for n in range(len(outputs))],
        outputs=outputs,
        references=references,
        output_scores=quality(outputs),
        reference_scores=quality(references),
    )


def synthetic(n, *, seed, advantage, length_effect):
    """Preferences drawn from σ(advantage + length_effect · tanh(difference ÷ its deviation)), longer on the whole."""
    generator = np.random.default_rng(seed)
    difference = generator.normal(50.0, 100.0, n)
    logits = advantage + length_effect * np.tanh(difference / difference.std(ddof=1))
    return (generator.random(n) < 1 / (1 + np.exp(-logits))).astype(float), difference


def test_the_win_rate_is_wins_and_half_ties_over_pairs():
    # Wins: 2 against 1. Tie by score (2a, 2b), tie by equal text (3), losses: 1 against 5 and 0 against 9.
    result = compare(["2", "2a", "3", "1", "0"], ["1", "2b", "3", "5", "9"])
    labels = np.array([1, 0.5, 0.5, 0, 0])
    assert result.win_rate == pytest.approx(100 * labels.mean())
    assert result.stderr == pytest.approx(100 * labels.std(ddof=1) / 5**0.5)
    assert (result.n, result.wins, result.ties, result.mean_length) == (5, 1, 2, pytest.approx(1.2))


def test_labels_stay_with_their_pairs_when_texts_and_instructions_repeat():
    generator = np.random.default_rng(0)
    outputs, references = ([f"{digit}{'x' * digit}" for digit in generator.integers(0, 4, 300)] for _ in range(2))
    result = compare(outputs, references, ["the same"] * 300)
    difference = np.array(quality(outputs)) - np.array(quality(references))
    assert result.win_rate == pytest.approx(100 * np.mean(0.5 + 0.5 * np.sign(difference)))
    assert result.n == 300


def test_swapping_the_models_gives_the_complement_of_both_rates():
    generator = np.random.default_rng(1)
    outputs = [f"{digit}{'x' * length}" for digit, length in generator.integers(1, 9, (80, 2))]
    references = [f"{digit}{'y' * length}" for digit, length in generator.integers(0, 7, (80, 2))]
    there, back = compare(outputs, references), compare(references, outputs)
    assert there.win_rate + back.win_rate == pytest.approx(100.0)
    assert there.lc_win_rate + back.lc_win_rate == pytest.approx(100.0, abs=1e-4)
    assert there.lc_stderr == pytest.approx(back.lc_stderr, abs=1e-4)
    assert (there.mean_length, back.mean_length) == (np.mean([*map(len, outputs)]), np.mean([*map(len, references)]))


def test_no_key_no_network_no_noise_and_nothing_left_behind(tmp_path, monkeypatch, capfd):
    def refuse(*address):
        raise AssertionError(f"a connection was tried: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("OPENAI_API_KEY", "OPENAI_API_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ), logging.getLogger().level, list(logging.getLogger().handlers)
    compare(["1"] * 3, ["2", "0", "0"])
    assert (dict(os.environ), logging.getLogger().level, list(logging.getLogger().handlers)) == before
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_without_a_length_effect_the_controlled_rate_is_the_raw_one():
    preferences, difference = synthetic(4000, seed=0, advantage=0.8, length_effect=0.0)
    controlled, error = length_controlled(preferences, difference)
    assert abs(controlled - 100 * preferences.mean()) < 2.0
    assert 0.0 < error < 2.0


def test_a_preference_for_length_is_removed():
    preferences, difference = synthetic(4000, seed=1, advantage=0.0, length_effect=2.0)
    controlled, error = length_controlled(preferences, difference)
    assert 100 * preferences.mean() > 60.0
    assert abs(controlled - 50.0) < 3.0 * error


def test_the_controlled_rates_error_is_its_spread_over_repetitions():
    runs = [length_controlled(*synthetic(200, seed=s, advantage=0.5, length_effect=1.0)) for s in range(300)]
    rates, errors = np.array(runs).T
    assert rates.std() == pytest.approx(errors.mean(), rel=0.15)


def test_equal_lengths_leave_the_raw_rate_and_its_error():
    preferences = np.array([1, 1, 0, 0.5])
    assert length_controlled(preferences, np.zeros(4)) == pytest.approx(
        (62.5, 100 * preferences.std(ddof=1) / 2), abs=1e-9
    )


def test_a_rate_that_length_alone_decides_stays_finite():
    difference = np.array([-30.0, -20.0, -10.0, 10.0, 20.0, 30.0])
    controlled, error = length_controlled((difference > 0).astype(float), difference)
    assert controlled == pytest.approx(50.0, abs=1e-3)
    assert np.isfinite(error)
    assert length_controlled(np.ones(6), difference)[0] == 100.0


def test_metrics_carry_both_rates_in_percent_and_one_pair_has_no_error():
    metrics = {m.name: m for m in judge_metrics(compare(["2abc"], ["1"]), split="test")}
    assert {name: m.value for name, m in metrics.items()} == {
        "win_rate": 100.0,
        "lc_win_rate": 100.0,
        "judge_length": 4.0,
    }
    assert {m.stderr for m in metrics.values()} == {None}
    assert [metrics[name].higher_is_better for name in metrics] == [True, True, None]


def test_faulty_input_is_refused():
    with pytest.raises(ValueError, match="given: 2, 2, 1, 2, 1"):
        compare(["1", "2"], ["1"])
    with pytest.raises(ValueError, match=r"pair 1 has the scores 3\.0, nan"):
        win_rate(
            instructions=["i"] * 2,
            outputs=["1"] * 2,
            references=["2"] * 2,
            output_scores=[0.0, 3.0],
            reference_scores=[0.0, float("nan")],
        )


def test_the_values_of_pairs_have_the_rate_as_their_mean_and_its_error_as_their_spread():
    preferences, difference = synthetic(400, seed=5, advantage=0.3, length_effect=1.0)
    rate, error = length_controlled(preferences, difference)
    values = length_controlled_values(preferences, difference)
    assert values.mean() == pytest.approx(rate, abs=1e-9)
    assert values.std() / len(values) ** 0.5 == pytest.approx(error, rel=1e-3)


def test_a_pairs_value_is_what_the_rate_would_lose_without_it():
    preferences, difference = synthetic(300, seed=6, advantage=-0.2, length_effect=0.5)
    rate, _ = length_controlled(preferences, difference)
    influence = length_controlled_values(preferences, difference) - rate
    without = np.array([_rate_without(place, preferences, difference) for place in range(0, 300, 10)])
    # but for what a pair does to the deviation that differences are divided by
    assert np.median(np.abs((rate - without) * 299 - influence[::10])) < 0.5
    assert np.corrcoef(rate - without, influence[::10])[0, 1] > 0.99


def _rate_without(place, preferences, difference):
    kept = np.arange(len(preferences)) != place
    return length_controlled(preferences[kept], difference[kept])[0]


def test_without_anything_to_control_for_values_are_the_preferences():
    preferences = np.array([1.0, 0.0, 0.5, 1.0])
    assert length_controlled_values(preferences, np.zeros(4)).tolist() == [100.0, 0.0, 50.0, 100.0]
    assert length_controlled_values(np.ones(3), np.array([1.0, 2.0, 5.0])).tolist() == [100.0] * 3

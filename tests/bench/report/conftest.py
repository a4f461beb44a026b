"""Owns synthetic records: a study as it would lie on disk, built through the types that real ones are built from."""

import math
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from bench.core.artifacts import write_whole
from bench.core.record import START, Cost, Metric, RunRecord
from bench.core.specs import DataSpec, EvaluationSpec, ModelSpec, RunSpec, TrainSpec

SCALES = {
    "dpo": (0.03, 0.1, 0.3, 1.0, 3.0),
    "ipo": (0.03, 0.1, 0.3, 1.0, 3.0),
    "kto": (0.01, 0.03, 0.1, 0.3, 1.0),
    "simpo": (1.0, 2.0, 4.0, 8.0, 16.0),
}

TUNING = {
    "preset": "quick",
    "axes": ["beta"],
    "trials": 5,
    "sampler": "grid",
    "seeds": [0],
    "final_seeds": [1000, 1001, 1002],
    "target": "target",
    "direction": "maximize",
    "steps": 60,
    "pairs": 960,
}


def evaluation(split: str = "validation", **changes) -> EvaluationSpec:
    given = {"prompts": 256, "tokens": 48, "seed": 0, "pairs": 256, "beta0": 0.1, "lm_eval": ("blimp",)}
    return EvaluationSpec(**{**given, "split": split, **changes})


def run_spec(
    objective: str = "dpo", *, beta: float | None = 0.1, seed: int = 0, rate: float = 3e-4, **train
) -> RunSpec:
    return RunSpec(
        version=1,
        suite="sentiment",
        suite_version=1,
        data=DataSpec(kind="pairs", source="sentiment", content="d" * 16, rows=960),
        model=ModelSpec(source="sentiment", content="m" * 16),
        objective=objective,
        objective_version=1,
        objective_content=None,
        params={} if beta is None else {"beta": beta},
        train=TrainSpec(**{"steps": 60, "batch": 16, "learning_rate": rate, **train}),
        seed=seed,
    )


def record(
    spec: RunSpec,
    *,
    split: str = "validation",
    target: float | None = 0.3,
    reward: float | None = None,
    kl: float = 3.0,
    status: str = "completed",
    protocol: str = "p" * 16,
    seconds: float = 30.0,
    stderr: float | None = 0.08,
) -> RunRecord:
    judged = evaluation(split)
    metrics: list[Metric] = []

    def add(task: str, name: str, value: float, error: float | None = None, n: int = 256) -> None:
        metrics.append(Metric(task=task, split=split, name=name, value=value, stderr=error, n=n))

    if status == "completed" and target is not None:
        reward = target + judged.beta0 * kl if reward is None else reward
        add("generation", "gold_reward", reward, stderr)
        add("generation", "kl", kl, None if stderr is None else 0.3)
        add("generation", "target", target, stderr)
        add("generation", "length", 41.0 + kl / 4, 0.4)
        add("generation", "distinct_1", 0.31 - kl / 200)
        add("generation", "distinct_2", 0.78 - kl / 100)
        add("preference", "accuracy", 0.5 + 0.2 * math.tanh(kl / 4), 0.02)
        add("preference", "margin", 0.1 * kl, 0.01)
        add("preference", "chosen_shift", 1.2 * math.tanh(kl / 3) - kl / 4, 0.1)
        add("preference", "rejected_shift", -0.9 * kl, 0.1)
        add("blimp", "acc", 0.588 - kl / 1000, 0.0155, 1005)
        add("judge", "win_rate", 50 + 25 * math.tanh(reward), 2.6)
        add("judge", "lc_win_rate", 50 + 23 * math.tanh(reward), 2.5)
    if spec.objective != START:
        add("train", "clipped_share", min(1.0, kl / 10), None, spec.train.steps)
    return RunRecord(
        key=spec.key,
        evaluation_key=judged.digest(),
        protocol=protocol,
        status=status,
        error=None if status == "completed" else "loss is not finite at step 17",
        spec=spec,
        evaluation=judged,
        tuning=TUNING,
        metrics=tuple(metrics),
        scores=prompt_scores(metrics, seed=spec.seed),
        curves=curves(spec) if spec.objective != START else {},
        cost=Cost(
            train_seconds=seconds,
            evaluate_seconds=seconds / 2,
            reference_seconds=1.0,
            tokens=100_000,
            forward_tokens=200_000,
            flops=2e12,
            peak_memory_bytes=10**9,
            device="cpu",
        ),
        provenance={"lossbench": "0.1.0"},
    )


def prompt_scores(metrics: list[Metric], *, seed: int, prompts: int = 24) -> dict[str, list[float]]:
    """Per-prompt values around the metrics' means: a part that prompts share, and a part of each run."""
    shared = np.random.default_rng(0).normal(size=prompts)
    own = np.random.default_rng(seed + 1).normal(size=prompts)
    noise = shared - shared.mean() + 0.5 * (own - own.mean())
    means = {metric.name: metric.value for metric in metrics if metric.task == "generation"}
    if "target" not in means:
        return {}
    return {
        "gold_reward": list(means["gold_reward"] + noise),
        "kl": [means["kl"]] * prompts,
        "target": list(means["target"] + noise),
        "length": [means["length"]] * prompts,
    }


def curves(spec: RunSpec) -> dict[str, list[float | None]]:
    rng = np.random.default_rng(zlib.crc32(spec.key.encode()))
    steps = np.arange(1, spec.train.steps + 1)
    risen = 1 - np.exp(-steps / 20)
    noise = rng.normal(size=(3, len(steps)))
    margin = risen * 0.35 + 0.05 * noise[0]
    return {
        "step": [float(step) for step in steps],
        "loss": list(0.69 - 0.14 * risen + 0.025 * noise[1]),
        "accuracy": list(np.clip(0.5 + 0.25 * risen + 0.09 * noise[2], 0, 1)),
        "margin": list(margin),
        "chosen_logp": list(-150 - 2 * risen),
        "rejected_logp": list(-150 - 6 * risen),
        "grad_norm": [None if step == 3 else float(2 - risen[step]) for step in range(len(steps))],
        "learning_rate": list(3e-4 * risen),
    }


def start_records(**given) -> list[RunRecord]:
    spec = run_spec(START, beta=None)
    return [record(spec, split=s, target=0.0, kl=0.0, **given) for s in ("validation", "test")]


def study(
    objectives: Iterable[str] = tuple(SCALES), *, seeds: int = 1, final_seeds: int = 3, protocol: str = "p" * 16
) -> list[RunRecord]:
    """Each objective at five β on validation; the best of each with fresh seeds on test; the start model on both."""
    made = start_records(protocol=protocol)
    for name in objectives:
        strength = {"dpo": 1.0, "ipo": 0.92, "kto": 0.8, "simpo": 0.7}.get(name, 0.85)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        trials = []
        for place, beta in enumerate(SCALES.get(name, SCALES["dpo"])):
            kl, reward = 9.0 / (1 + place), strength * (1.25 - 0.3 * place + 0.03 * place**2)

            def one(seed: int, split: str, b=beta, k=kl, r=reward, objective=name, rng=rng) -> RunRecord:
                own, gold = k * math.exp(0.06 * rng.normal()), r + 0.05 * rng.normal()
                spec = run_spec(objective, beta=b, seed=seed)
                return record(spec, split=split, target=gold - 0.1 * own, kl=own, protocol=protocol)

            trials.append((one, [one(seed, "validation") for seed in range(seeds)]))
        made += [trial for _, found in trials for trial in found]
        best = max(trials, key=lambda pair: np.mean([r.metric("target").value for r in pair[1]]))[0]
        made += [best(100 + seed, "test") for seed in range(final_seeds)]
    return made


def write_records(results: Path, records: Iterable[RunRecord]) -> Path:
    """Lay records out on disk as the stages do."""
    for one in records:
        folder = results / "runs" / one.key

        def train(partial: Path, spec: RunSpec = one.spec) -> None:
            (partial / "spec.json").write_text(spec.model_dump_json())
            (partial / "checkpoint").mkdir()
            (partial / "checkpoint" / "model.safetensors").write_bytes(b"weights" * 9)

        def evaluate(partial: Path, given: RunRecord = one) -> None:
            (partial / "record.json").write_text(given.model_dump_json())
            (partial / "samples.jsonl.gz").write_bytes(b"samples" * 7)

        write_whole(folder, train, stage="train")
        write_whole(folder / "evals" / one.evaluation_key, evaluate, stage="evaluate")
    return results


@pytest.fixture(scope="session")
def full_study() -> list[RunRecord]:
    return study()

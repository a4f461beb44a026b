"""Evaluator of the exact suite: every completion enumerated, and the distance to the objective's own optimum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.core.record import Metric
from bench.core.specs import EvaluationSpec
from bench.evaluate.checkpoint import EvaluationResult, Yardstick, preference
from bench.evaluate.metrics.aggregate import mean_metrics
from bench.suites.exact.evaluate import TASK, evaluate_exact, policy_logps
from bench.suites.exact.measures import frontier_curve, kl
from bench.suites.exact.problem import Problem, preference_table
from bench.suites.exact.theory.optima import own_optimum
from bench.suites.exact.theory.population import Population
from bench.suites.protocol import EVALUATION_SPLITS, TrainedBy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FRONTIER_POINTS = 101


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactEvaluator:
    """Evaluator of one enumerable problem."""

    problem: Problem
    tokenizer: PreTrainedTokenizerBase
    samples = False
    gold = None
    judge_inputs = None

    def runs_tasks(self, split: str) -> bool:
        """Return False: a table of symbols reads no text."""
        return False

    def score(
        self, model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, trained_by: TrainedBy
    ) -> EvaluationResult:
        """Return expectations over all completions."""
        return evaluate_exact(
            model,
            self.problem,
            tokenizer=self.tokenizer,
            spec=spec,
            reward=trained_by.reward,
            params=trained_by.params,
        )

    def measure(
        self, model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, trained_by: TrainedBy
    ) -> EvaluationResult:
        """Return ``score``, the distance to the objective's own optimum, and the metrics of held-out pairs."""
        evaluated = self.score(model, yardstick, spec=spec, trained_by=trained_by)
        metrics = [*evaluated.metrics, *self._distance_to_own(model, trained_by, split=spec.split)]
        if yardstick.held_out is not None:
            metrics += preference(model, yardstick, spec=spec, reward=trained_by.reward)
        return replace(evaluated, metrics=tuple(metrics))

    def frontiers(self) -> dict[str, dict[str, list[float]]]:
        """Return the optimal reward at each KL (nats) by split, which no policy can exceed."""
        curves = {}
        for split in EVALUATION_SPLITS:
            contexts = list(self.problem.contexts(split))
            curve = frontier_curve(
                self.problem.log_ref[contexts], self.problem.reward[contexts], points=FRONTIER_POINTS
            )
            curves[split] = {"kl": curve.kl.tolist(), "reward": curve.reward.tolist()}
        return curves

    def _distance_to_own(self, model: PreTrainedModel, trained_by: TrainedBy, *, split: str) -> tuple[Metric, ...]:
        """Return KL(π‖own optimum), nats, where the data are the population and the optimum is known."""
        problem = self.problem
        if problem.spec.labels != "population" or trained_by.objective is None:
            return ()
        if not trained_by.frozen_reference:
            return ()  # between two moves of the reference training sees a part of the population only
        contexts = list(problem.contexts(split))
        population = Population(
            log_ref=problem.log_ref[contexts],
            preference=preference_table(problem)[contexts],
            lengths=problem.lengths,
            reward=problem.reward[contexts],
            vocabulary=problem.vocabulary,
        )
        own = own_optimum(trained_by.objective, trained_by.params, population)
        if own is None:
            return ()
        distance = kl(policy_logps(model, problem, contexts=contexts), own)
        return mean_metrics({"kl_to_own_optimum": (distance, False)}, task=TASK, split=split)

"""``Objective``: a registered loss with its metadata, and the ``@objective`` decorator that makes one."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from types import MappingProxyType
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from losses.batch import Batch, Completion, Pairs, Ranked, Singles
from losses.param import Param, ParameterOutOfRange, UnknownParameter, resolve_params
from losses.schedule import ReferenceSchedule, frozen

__all__ = ["Bound", "Objective", "Param", "ParameterOutOfRange", "Requires", "UnknownParameter", "objective"]

Reward = Literal["log_ratio", "mean_log_ratio", "policy", "mean_policy"]
Aggregation = Literal["sum", "mean", "tokens"]
State = dict[str, float]
"""Running quantities of an objective: plain numbers, so that a checkpoint can hold them."""
CheckedAgainst = Literal["paper", "authors' code", "peer code", "secondary"]
"""What a formula was compared with: the paper's text; the code of its authors; that of another library; or none of
them, the formula being as commonly stated."""
Losses = Any
"""What a loss function gives: a tensor, or with running quantities a tensor and the next ``State``."""


class Requires(Flag):
    """What an objective needs beyond the policy's log-probs; joined with ``|``.

    REFERENCE: reference log-probs. TOKENS: log-probs of each token, not only their sum and count.
    VOCAB_KL: ``Completion.token_kl``. COLLISION: ``Completion.log_collision``. ENTROPY:
    ``Completion.reference_entropy``. KL_BASELINE: ``Singles.kl_baseline``. SCORES: ``Pairs.score_gap``, or that the
    numbers in ``Ranked.scores`` count and not only their order. WHOLE_BATCH: an example's loss depends on the others
    of the global batch, directly or through a running quantity.
    """

    NOTHING = 0
    REFERENCE = auto()
    TOKENS = auto()
    VOCAB_KL = auto()
    KL_BASELINE = auto()
    WHOLE_BATCH = auto()
    SCORES = auto()
    COLLISION = auto()
    ENTROPY = auto()


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss and all that is known about it. Call it: ``objective(batch, beta=0.1)`` gives one loss per example.

    Fields:
        name: as users type it; the name of the function.
        fn: ``fn(batch, *, <parameters that are not schedule-only>)`` to losses of shape [examples]; with ``init``,
            ``fn(batch, state, *, …)`` to losses and the next state.
        params: parameters by name, in the order of the signature.
        batch: ``Pairs``, ``Singles`` or ``Ranked``.
        requires: what the harness must supply.
        reward: the property of ``Completion`` that is the implicit reward, up to a positive factor and a constant.
        aggregation: whether token log-probs are summed, averaged over a completion, or used one by one.
        paper: arXiv id and title.
        checked_against: what the formula was compared with; empty where that is not stated. It enters no hash.
        equation: plain text in the notation of ``losses.batch``.
        optimum: what minimises the loss.
        reduces_to: equalities with other objectives.
        differs: peers whose code disagrees, and how.
        initial: exact loss of each example at policy = reference, a function of the loss parameters; None (or a
            function that returns None) where there is no such number.
        schedule: resolved parameters to reference schedule; None for a reference that stays frozen.
        version: raised by a change to any number that the objective gives.
        init: the state before the first step, for objectives with running quantities.
        parts: the objectives that a composed one is made of; empty for one that is not.
        timed: optimiser step (1-based) and number of steps to the objective as it is then; None where it never changes.
    """

    name: str
    fn: Callable[..., Losses]
    params: Mapping[str, Param]
    batch: type[Pairs] | type[Singles] | type[Ranked]
    requires: Requires
    reward: Reward
    aggregation: Aggregation
    paper: str
    equation: str
    optimum: str
    reduces_to: tuple[str, ...]
    differs: tuple[str, ...]
    initial: Callable[..., float | None] | None
    schedule: Callable[[Mapping[str, float]], ReferenceSchedule] | None
    version: int
    init: Callable[[], State] | None = None
    parts: tuple["Objective", ...] = ()
    timed: Callable[[int, int], "Objective"] | None = None
    checked_against: tuple[CheckedAgainst, ...] = ()

    def at(self, step: int, steps: int) -> "Objective":
        """Return the objective as it is at optimiser step ``step`` (1-based) of ``steps``."""
        return self if self.timed is None else self.timed(step, steps)

    def __call__(self, batch: Batch, **params: float | int) -> Float[Tensor, " examples"]:
        """Return the loss of each example, shape [examples]; parameters left out take their defaults.

        An objective with running quantities is before its first step. Raises as ``resolve`` and ``Bound.advance``.
        """
        return self.bind(self.resolve(params))(batch)

    def advance(
        self, batch: Batch, state: Mapping[str, float] | None, params: Mapping[str, float | int]
    ) -> tuple[Float[Tensor, " examples"], State]:
        """Check ``params``, then do as ``Bound.advance``. Raises as ``resolve`` and ``Bound.advance``."""
        return self.bind(self.resolve(params)).advance(batch, state)

    def bind(self, params: Mapping[str, float]) -> "Bound":
        """Return the objective at parameter values, to be called with a batch alone, as in the steps of a training.

        Args:
            params: a value for every parameter, as ``resolve`` returned them: their values are not checked again. Those
                of the reference schedule may be missing where only the loss is called, as in a composed loss.

        Raises:
            ValueError: when a parameter of the loss is missing, or one is unknown.
        """
        needed = {name for name, param in self.params.items() if not param.schedule}
        if not needed <= params.keys() <= self.params.keys():
            raise ValueError(
                f"objective {self.name!r} needs a value for each of {', '.join(self.params) or 'no parameter'} "
                f"(got {', '.join(params) or 'none'}); Objective.resolve completes them"
            )
        return Bound(objective=self, params=params)

    def resolve(self, params: Mapping[str, float | int]) -> dict[str, float]:
        """Return a float for every parameter: the one given, else the default.

        Raises:
            UnknownParameter: when the objective has no parameter of a name.
            ParameterOutOfRange: when a value is not accepted.
        """
        return resolve_params(f"objective {self.name!r}", self.params, params)

    def loss_params(self, params: Mapping[str, float | int]) -> dict[str, float]:
        """Return the resolved parameters without those that only shape the schedule. Raises as ``resolve``."""
        return self.bind(self.resolve(params)).loss_params

    def reference_schedule(self, params: Mapping[str, float | int]) -> ReferenceSchedule:
        """Return when the reference follows the policy at these parameters. Raises as ``resolve``."""
        return self.bind(self.resolve(params)).schedule

    def initial_loss(self, params: Mapping[str, float | int]) -> float | None:
        """Return the exact loss of each example at policy = reference, or None. Raises as ``resolve``."""
        return None if self.initial is None else self.initial(**self.loss_params(params))

    def reward_of(self, completion: Completion) -> Float[Tensor, " examples"]:
        """Return the implicit reward of each completion without the factor β, nats (nats per token for means).

        Raises:
            ValueError: when the reward needs a reference and the completion has none.
        """
        return getattr(completion, self.reward)

    @property
    def doc(self) -> str:
        """The docstring of the function, to which the decorator has appended equation, optimum and differences."""
        return inspect.getdoc(self.fn) or ""

    @property
    def file(self) -> str:
        """The file that defines the function."""
        return inspect.unwrap(self.fn).__code__.co_filename

    @property
    def origin(self) -> str:
        """Where the function stands: «file:line»."""
        return f"{self.file}:{inspect.unwrap(self.fn).__code__.co_firstlineno}"


@dataclass(frozen=True, eq=False)
class Bound:
    """An objective at parameter values that ``Objective.resolve`` has checked: a call checks none of them again.

    Fields:
        objective: the loss.
        params: a value for every parameter, those of the schedule included.
    """

    objective: Objective
    params: Mapping[str, float]

    def __call__(self, batch: Batch) -> Float[Tensor, " examples"]:
        """Return the loss of each example, shape [examples], before the first step. Raises as ``advance``."""
        return self.advance(batch, None)[0]

    def advance(self, batch: Batch, state: Mapping[str, float] | None) -> tuple[Float[Tensor, " examples"], State]:
        """Return the loss of each example and the state after this global batch, empty where there is none.

        Args:
            state: the running quantities before this batch; None before the first step.

        Raises:
            TypeError: when the batch is of the wrong kind.
            ValueError: when the batch lacks what the objective requires, or ``fn`` gave another shape.
        """
        name, kind = self.objective.name, self.objective.batch
        if not isinstance(batch, kind):
            raise TypeError(f"objective {name!r} takes {kind.__name__}, got {type(batch).__name__}")
        if self.objective.init is None:
            losses, after = self.objective.fn(batch, **self.loss_params), {}
        else:
            before = dict(self.objective.init() if state is None else state)
            losses, after = self.objective.fn(batch, before, **self.loss_params)
        if list(losses.shape) != [batch.examples]:
            raise ValueError(
                f"objective {name!r} gave losses of shape {list(losses.shape)} for {batch.examples} examples; "
                f"it must give one loss per example, shape [{batch.examples}]: do not average inside the function"
            )
        return losses, after

    @property
    def loss_params(self) -> dict[str, float]:
        """The parameters that the loss function takes: all but those that only shape the schedule."""
        return {name: self.params[name] for name, param in self.objective.params.items() if not param.schedule}

    @property
    def schedule(self) -> ReferenceSchedule:
        """When the reference follows the policy."""
        return frozen() if self.objective.schedule is None else self.objective.schedule(self.params)


def objective(
    *,
    params: Mapping[str, Param],
    batch: type[Pairs] | type[Singles] | type[Ranked],
    requires: Requires,
    reward: Reward,
    aggregation: Aggregation,
    paper: str,
    equation: str,
    optimum: str,
    version: int,
    checked_against: CheckedAgainst | tuple[CheckedAgainst, ...] = (),
    initial: Callable[..., float | None] | None = None,
    schedule: Callable[[Mapping[str, float]], ReferenceSchedule] | None = None,
    reduces_to: tuple[str, ...] = (),
    differs: tuple[str, ...] = (),
    init: Callable[[], State] | None = None,
) -> Callable[[Callable[..., Losses]], Objective]:
    """Make an ``Objective`` of the function below, register it under the function's name, and return it.

    The docstring says what the loss is for and what each parameter does as it grows; equation, optimum, source and
    differences are appended to it from the arguments.

    The function takes the batch (with ``init``, then the state), then exactly the parameters that are not
    schedule-only, by keyword and without defaults: defaults live in ``Param`` alone. The arguments are the fields of
    ``Objective``.

    Raises:
        ValueError: when the function has no docstring, its signature does not match ``params``, or the metadata
            contradict each other.
        DuplicateObjective: when another objective has the name.
    """

    def register(fn: Callable[..., Losses]) -> Objective:
        _check_signature(fn, params, stateful=init is not None)
        _check_consistent(fn.__name__, batch, requires, reward, stateful=init is not None)
        made = Objective(
            name=fn.__name__,
            fn=fn,
            params=MappingProxyType(dict(params)),
            batch=batch,
            requires=requires,
            reward=reward,
            aggregation=aggregation,
            paper=paper,
            equation=equation,
            optimum=optimum,
            reduces_to=reduces_to,
            differs=differs,
            initial=initial,
            schedule=schedule,
            version=version,
            init=init,
            checked_against=(checked_against,) if isinstance(checked_against, str) else checked_against,
        )
        # Written once, in the decorator: ``help(fn)`` shows it from there.
        fn.__doc__ = f"{inspect.getdoc(fn)}\n\n{_metadata_text(made)}\n"
        return add(made)

    return register


REGISTERED: dict[str, Objective] = {}
"""The objectives by name, as decorators made them; ``losses.registry`` finds them here."""


class DuplicateObjective(ValueError):  # noqa: N818
    """A name that two objectives claim."""


def add(objective: Objective) -> Objective:
    """Register an objective and return it; ``@objective`` calls this.

    Raises:
        DuplicateObjective: when another objective has the name.
    """
    other = REGISTERED.get(objective.name)
    # A cell of a notebook is run again and again: there the newest definition counts, as for any function.
    if other is not None and not other.fn.__module__ == objective.fn.__module__ == "__main__":
        raise DuplicateObjective(
            f"two objectives are named {objective.name!r}: {other.origin} and {objective.origin}; rename one"
        )
    REGISTERED[objective.name] = objective
    return objective


_AGGREGATIONS = {"sum": "sums over tokens", "mean": "averages over tokens", "tokens": "token by token"}


def _metadata_text(objective: Objective) -> str:
    """Return the part of a docstring that stands in the decorator."""
    lines = [
        f"Equation: {objective.equation}",
        f"Log-probs: {_AGGREGATIONS[objective.aggregation]}",
        f"Optimum: {objective.optimum}",
        f"Source: {objective.paper}",
        f"Checked against: {', '.join(objective.checked_against) or 'not stated'}",
        *(f"Reduces to: {text}" for text in objective.reduces_to),
        *(f"Differs from: {text}" for text in objective.differs or ("nothing known",)),
    ]
    return "\n".join(lines)


def _check_signature(fn: Callable[..., Losses], params: Mapping[str, Param], *, stateful: bool) -> None:
    if not inspect.getdoc(fn):
        raise ValueError(f"objective {fn.__name__!r} needs a docstring: it is what users read about it")
    leading = ("batch", "state") if stateful else ("batch",)
    arguments = list(inspect.signature(fn).parameters.values())[len(leading) :]
    taken = {argument.name for argument in arguments}
    wanted = {name for name, param in params.items() if not param.schedule}
    keyword_only = all(argument.kind is argument.KEYWORD_ONLY for argument in arguments)
    if taken != wanted or not keyword_only or any(argument.default is not argument.empty for argument in arguments):
        signature = f"{fn.__name__}({', '.join([*leading, *(['*', *sorted(wanted)] if wanted else [])])})"
        raise ValueError(
            f"objective {fn.__name__!r} must have the signature {signature}, without defaults (they live in Param); "
            f"it has {fn.__name__}{inspect.signature(fn)}"
        )


def _check_consistent(name: str, batch: type, requires: Requires, reward: Reward, *, stateful: bool) -> None:
    if Requires.KL_BASELINE in requires and batch is not Singles:
        raise ValueError(f"objective {name!r}: KL_BASELINE is a field of Singles, but batch is {batch.__name__}")
    if Requires.SCORES in requires and batch is Singles:
        raise ValueError(f"objective {name!r}: SCORES are a field of Pairs and Ranked, but batch is Singles")
    if reward in ("log_ratio", "mean_log_ratio") and Requires.REFERENCE not in requires:
        raise ValueError(f"objective {name!r}: reward {reward!r} needs the reference; add Requires.REFERENCE")
    if stateful and Requires.WHOLE_BATCH not in requires:
        raise ValueError(f"objective {name!r}: a running quantity couples the batch; add Requires.WHOLE_BATCH")

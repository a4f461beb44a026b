"""Objectives that are made of others: weighted sums of objectives, changed by modifiers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor

from losses.batch import Batch
from losses.grammar import EXAMPLE, ExpressionError, Term, format_terms, parse
from losses.modifiers import MODIFIERS, Modifier
from losses.objective import Objective, State
from losses.param import Param, resolve_params, suggest
from losses.schedule import ReferenceSchedule

Lookup = Callable[[str], Objective]


@dataclass(frozen=True)
class _Free:
    """Parameters of a part that the user still chooses (own name → composed name, ``Param``), and the fixed values."""

    names: Mapping[str, tuple[str, Param]]
    fixed: Mapping[str, float]

    def values(self, params: Mapping[str, float]) -> dict[str, float]:
        """Return the part's values among those of the composed objective, and the fixed ones."""
        return {**self.fixed, **{own: params[public] for own, (public, _) in self.names.items() if public in params}}

    @property
    def params(self) -> dict[str, Param]:
        """Parameters by composed name."""
        return dict(self.names.values())


def compose(text: str, *, lookup: Lookup, known: tuple[str, ...]) -> Objective:
    """Build the objective that an expression names; see ``losses.grammar`` for its form.

    Values in parentheses are fixed; what is not fixed stays a parameter: β of a single objective is still ``beta``,
    in a sum of several it is ``<objective>_beta``, and those of a modifier are ``<modifier>_<name>``.

    Args:
        lookup: name to objective. known: names for hints.

    Raises:
        ExpressionError: for a text that is no expression, an unknown name or parameter, a value that is not accepted,
            objectives that take different batches, or a modifier that is not defined there, with the reason.
    """
    terms = parse(text)
    built = _built(tuple(term.at(1, 1) for term in terms), text, lookup=lookup, known=known)
    if any(term.is_timed for term in terms):
        _built(tuple(term.at(2, 2) for term in terms), text, lookup=lookup, known=known)  # the end is checked too
        built = replace(
            built,
            timed=lambda step, steps: _built(
                tuple(term.at(step, steps) for term in terms), text, lookup=lookup, known=known
            ),
        )
    return replace(built, name=format_terms(terms))


def _built(terms: tuple[Term, ...], text: str, *, lookup: Lookup, known: tuple[str, ...]) -> Objective:
    objectives = [term for term in terms if term.name not in MODIFIERS]
    built: Objective | None = None
    for term in terms:
        if term.name in MODIFIERS:
            built = _modified(built, MODIFIERS[term.name], term)
            continue
        if term.name not in known:
            names = (*known, *MODIFIERS)
            raise ExpressionError(
                f"{text!r}: no objective or modifier is named {term.name!r}; {suggest(term.name, names)}"
                f"modifiers: {', '.join(MODIFIERS)}"
            )
        part = _weighted(lookup(term.name), term, alone=len(objectives) == 1)
        built = part if built is None else _sum(built, part, text)
    assert built is not None
    return built


def _weighted(objective: Objective, term: Term, *, alone: bool) -> Objective:
    """The objective with its values fixed, times its weight; parameters renamed where it is one of several."""
    free = _free(f"objective {objective.name!r}", objective.params, term, prefix="" if alone else f"{objective.name}_")
    if alone and term.weight == 1 and not free.fixed:
        return objective

    def inner(batch: Batch, state: State, values: Mapping[str, float]) -> tuple[Tensor, State]:
        losses, after = objective.bind(free.values(values)).advance(batch, state or None)
        return term.weight * losses, after

    return _made(
        objective, inner, params=free.params, stateful=objective.init is not None, parts=_parts(objective),
        equation=objective.equation if term.weight == 1 else f"{term.weight:g} ({objective.equation})",
        schedule=None if objective.schedule is None else lambda values: objective.bind(free.values(values)).schedule,
    )  # fmt: skip


def _sum(left: Objective, right: Objective, text: str) -> Objective:
    if left.batch is not right.batch:
        raise ExpressionError(
            f"{text!r}: {left.name!r} takes {left.batch.__name__}, {right.name!r} takes {right.batch.__name__}; "
            "only objectives on the same kind of batch can be added"
        )
    if twice := left.params.keys() & right.params.keys():
        raise ExpressionError(f"{text!r} names an objective twice ({', '.join(sorted(twice))}); add its weights")
    if left.schedule is not None and right.schedule is not None:
        raise ExpressionError(f"{text!r}: both {left.name!r} and {right.name!r} move the reference; keep one of them")

    def inner(batch: Batch, state: State, values: Mapping[str, float]) -> tuple[Tensor, State]:
        first, one = left.bind(_only(left, values)).advance(batch, _own(state, "left.") or None)
        second, two = right.bind(_only(right, values)).advance(batch, _own(state, "right.") or None)
        return first + second, _joined(one, two)

    def init() -> State:
        one, two = (part.init() if part.init is not None else {} for part in (left, right))
        return _joined(one, two)

    stateful = left.init is not None or right.init is not None
    mover = left if left.schedule is not None else right
    made = _made(
        left, inner, params={**left.params, **right.params}, parts=(*_parts(left), *_parts(right)),
        stateful=stateful, equation=f"{left.equation} + {right.equation}",
        schedule=None if mover.schedule is None else lambda values: mover.bind(_only(mover, values)).schedule,
    )  # fmt: skip
    return replace(
        made,
        requires=left.requires | right.requires,
        version=left.version + right.version,
        init=init if stateful else None,
        paper=f"{left.paper}; {right.paper}",
    )


def _modified(base: Objective | None, change: Modifier, term: Term) -> Objective:
    if base is None:
        raise ExpressionError(f"{change.name!r} is a modifier: an objective must stand before it; {EXAMPLE}")
    if term.weight != 1:
        raise ExpressionError(f"'{term}': a modifier has no weight; give its values in parentheses")
    if (reason := change.refuses(base)) is not None:
        raise ExpressionError(f"{change.name!r} is not defined for {base.name!r}: {reason}")
    free = _free(f"modifier {change.name!r}", change.params, term, prefix=f"{change.name}_")

    def inner(batch: Batch, state: State, values: Mapping[str, float]) -> tuple[Tensor, State]:
        after: State = {}

        def losses(changed: Batch) -> Tensor:
            result, new = base.bind(_only(base, values)).advance(changed, state or None)
            after.update(new)
            return result

        return change.fn(losses, batch, **free.values(values)), after

    made = _made(
        base, inner, params={**base.params, **free.params}, stateful=base.init is not None, parts=_parts(base),
        equation=f"{change.equation}; ℓ = {base.equation}",
        schedule=None if base.schedule is None else lambda values: base.bind(_only(base, values)).schedule,
    )  # fmt: skip
    return replace(
        made,
        requires=base.requires | change.requires,
        reward=base.reward if change.reward is None else change.reward(base),
        aggregation=change.aggregation or base.aggregation,
        version=base.version + change.version,
        paper=f"{base.paper}; {change.paper}",
    )


def _made(
    base: Objective,
    inner: Callable[[Batch, State, Mapping[str, float]], tuple[Tensor, State]],
    *,
    params: Mapping[str, Param],
    stateful: bool,
    parts: tuple[Objective, ...],
    equation: str,
    schedule: Callable[[Mapping[str, float]], ReferenceSchedule] | None,
) -> Objective:
    def fn(batch: Batch, **values: float) -> Tensor:
        return inner(batch, {}, values)[0]

    def running(batch: Batch, state: State, **values: float) -> tuple[Tensor, State]:
        return inner(batch, state, values)

    chosen = running if stateful else fn
    chosen.__doc__ = f"Composed of {', '.join(part.name for part in parts)}.\n\nEquation: {equation}"
    return replace(
        base, fn=chosen, params=MappingProxyType(dict(params)), equation=equation, parts=parts, schedule=schedule,
        optimum="that of a composed objective is not known in general", reduces_to=(), initial=None, checked_against=(),
    )  # fmt: skip


def _parts(objective: Objective) -> tuple[Objective, ...]:
    return objective.parts or (objective,)


def _free(owner: str, params: Mapping[str, Param], term: Term, *, prefix: str) -> _Free:
    """Check the values that a term fixes, and name those that it leaves free."""
    positions = list(params)
    values: dict[str, object] = {}
    for index, (key, value) in enumerate(term.values):
        if key is None and index >= len(positions):
            raise ExpressionError(f"'{term}': {owner} has {len(positions)} parameters, but more values are listed")
        name = positions[index] if key is None else key
        if name in values:
            raise ExpressionError(f"'{term}' gives {name} twice")
        values[name] = value
    try:
        resolved = resolve_params(owner, params, values)
    except ValueError as error:
        raise ExpressionError(f"'{term}': {error}") from error
    fixed = {name: resolved[name] for name in values}
    return _Free({name: (prefix + name, param) for name, param in params.items() if name not in fixed}, fixed)


def _only(objective: Objective, values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in objective.params}


def _joined(left: State, right: State) -> State:
    """The states of both sides of a sum as one; ``_own`` takes them apart."""
    return {f"left.{name}": value for name, value in left.items()} | {
        f"right.{name}": value for name, value in right.items()
    }


def _own(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

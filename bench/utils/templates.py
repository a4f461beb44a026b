"""Jinja sandboxes that end: templates of others reach no code, and have limits on steps, time and text.

Jinja's own sandbox keeps a template from attributes that lead to code. It lets a template take all time and memory:
three nested loops, ``'x' * 10**10``, a list that doubles. Here every loop, macro, container and character is paid from
a budget, and an operation is refused before it is done if its result would be too large.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps

from jinja2 import Environment, Template, nodes, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

STEPS = 5_000_000
"""Passes of loops, calls of macros and members of containers in one rendering; a character counts a sixteenth."""
SECONDS = 10.0
LONGEST = 2**24
"""Characters or members of a result."""
LARGE = 10**6
"""The largest number by which anything is padded, filled or indented."""
BITS = 2**15
"""Of the largest integer that a power or a product gives."""
CLOCK_EVERY = 512
_SHORT = 1024
_WIDE = re.compile(r"\d{6,}|%[^%a-zA-Z]*\*|\{[^{}]*\{")
"""In a format: a large width, one that is an argument, or a field in a field."""
_PADDING = ("center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap", "batch", "slice", "tojson")


_SHORTENING = ("trim", "length", "first", "last", "upper", "lower")
_PLAIN = (
    nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Filter,
    nodes.Test, nodes.Call, nodes.CondExpr, nodes.Continue, nodes.Break,
)  # fmt: skip
"""What a template that is short by its form is made of."""


class TemplateLimitError(SecurityError):
    """A template that takes more than it may."""


class _Budget(threading.local):
    left = STEPS
    until = float("inf")
    clock = CLOCK_EVERY
    plain = False
    """Whether the template that is being compiled needs no payments."""

    def open(self) -> None:
        self.left, self.until, self.clock = STEPS, time.monotonic() + SECONDS, CLOCK_EVERY

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TemplateLimitError(f"the template takes more than {STEPS:,} steps")
        self.clock -= steps
        if self.clock < 0:
            self.clock = CLOCK_EVERY
            if time.monotonic() > self.until:
                raise TemplateLimitError(f"the template takes more than {SECONDS:g} seconds")


class _LimitedTemplate(Template):
    """A template whose every rendering has a budget of its own."""

    environment: "LimitedSandbox"

    def render(self, *args: object, **kwargs: object) -> str:
        self.environment.budget.open()
        try:
            return super().render(*args, **kwargs)
        except RecursionError:
            raise TemplateLimitError("the template calls itself too deeply") from None

    def generate(self, *args: object, **kwargs: object) -> Iterable[str]:  # type: ignore[override]
        self.environment.budget.open()
        return super().generate(*args, **kwargs)


class _Filters(dict[str, Callable[..., object]]):
    """Filters by name, each of which pays for what it is given and what it gives."""

    def __init__(self, sandbox: "LimitedSandbox", known: Mapping[str, Callable[..., object]]) -> None:
        super().__init__()
        self._sandbox = sandbox
        for name, function in known.items():
            self[name] = function

    def __setitem__(self, name: str, function: Callable[..., object]) -> None:
        sandbox = self._sandbox

        @wraps(function)  # with Jinja's mark of what is passed first
        def limited(*args: object, **kwargs: object) -> object:
            # Jinja's own first argument (environment, context) is none of the template's.
            own = args[1:] if hasattr(function, "jinja_pass_arg") else args
            sandbox.check(name, own[0] if own else None, (*own[1:], *kwargs.values()))
            return sandbox.paid(function(*args, **kwargs))

        super().__setitem__(name, limited)

    def copy(self) -> "_Filters":
        return self


class _Metered(NodeTransformer):
    """Puts a payment at the beginning of each loop and macro, and around each list, mapping and ``~``."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def _call(self, name: str, arguments: list[nodes.Expr], at: nodes.Node) -> nodes.Call:
        call = nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)
        call.set_environment(self.environment)
        call.set_lineno(at.lineno)
        return call

    def _metered(self, node: "nodes.For | nodes.Macro | nodes.CallBlock") -> nodes.Node:
        self.generic_visit(node)
        step = nodes.ExprStmt(self._call("step", [], node))
        step.set_environment(self.environment)
        step.set_lineno(node.lineno)
        node.body = [step, *node.body]
        return node

    visit_For = visit_Macro = visit_CallBlock = _metered  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._call("joined", node.nodes, node)

    def _made(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return self._call("paid", [node], node) if getattr(node, "ctx", "load") == "load" else node

    visit_List = visit_Dict = visit_Tuple = _made  # noqa: N815


@pass_environment
def _whole(environment: "LimitedSandbox", value: object) -> object:
    """Pay for a value that is written out; it also keeps Jinja from computing constants while it compiles."""
    return value if type(value) is str else environment.paid(value)  # what is written is counted in the end


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with limits; errors are ``TemplateLimitError``, a ``TemplateError``."""

    template_class = _LimitedTemplate

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.budget = _Budget()
        super().__init__(*args, **kwargs)
        self.optimized = False  # constants would be computed while compiling, without limits
        self.finalize = _whole
        self.filters = _Filters(self, self.filters)
        self.globals.pop("lipsum", None)

    @property
    def intercepted_binops(self) -> frozenset[str]:  # type: ignore[override]
        """The operations whose results are checked first: none in a template that is short by its form."""
        return frozenset() if self.budget.plain else frozenset(("+", "*", "**", "%"))

    def concat(self, parts: Iterable[str]) -> str:
        """Join what a template wrote, and stop where it is too long."""
        kept, length = [], 0
        for part in parts:
            length += len(part)
            if length > LONGEST:
                raise TemplateLimitError(f"the template writes more than {LONGEST:,} characters")
            kept.append(part)
        self.budget.spend(length // 16 + 1)
        return "".join(kept)

    def step(self) -> str:
        """Pay for one pass of a loop or one call of a macro."""
        self.budget.spend(1)
        return ""

    def joined(self, *parts: object) -> str:
        """Do what ``~`` does."""
        self._fits(sum(len(part) if isinstance(part, str) else 0 for part in map(self.paid, parts)))
        return str(self.paid(str_join(parts)))

    def paid(self, value: object) -> object:
        """Return a value whose size was paid: characters of a text, members of members of a container."""
        if type(value) is str and len(value) < _SHORT:
            self.budget.left -= 1  # noticed at the next step
            return value
        stack = [value]
        while stack:
            each = stack.pop()
            if isinstance(each, str | bytes):
                self._fits(len(each))
                self.budget.spend(len(each) // 16 + 1)
            elif isinstance(each, Mapping):
                self.budget.spend(len(each) + 1)
                stack.extend(each.values())
            elif isinstance(each, list | tuple | set | frozenset):
                self.budget.spend(len(each) + 1)
                stack.extend(each)
        return value

    def check(self, name: str, value: object, arguments: Sequence[object]) -> None:
        """Refuse a filter or a method whose result would be too large, before it is computed."""
        self.paid(value)
        if not arguments:
            return
        for each in arguments:
            self.paid(each)
        numbers = [abs(each) for each in arguments if isinstance(each, int)]
        if name in _PADDING or isinstance(value, int):
            lines = value.count("\n") + value.count("\t") + 1 if isinstance(value, str) else 1
            if any(number > LARGE or number * lines > LONGEST for number in numbers):
                raise TemplateLimitError(f"{name} with {max(numbers)} is too large")
        texts = [each for each in arguments if isinstance(each, str)]
        if name == "replace" and isinstance(value, str) and len(texts) > 1:
            self._fits(len(value) + (len(value) // max(1, len(texts[0])) + 1) * len(texts[1]))
        elif name in ("join", "wordwrap") and isinstance(value, str):
            others = [len(each) for each in arguments if isinstance(each, Sequence)]
            self._fits(len(value) * max([1, *others]))
        elif name == "join" and texts:
            self._fits(_length(value) * max(map(len, texts)))
        elif name == "translate" and isinstance(value, str):
            longest = [len(str(to)) for each in arguments if isinstance(each, Mapping) for to in each.values()]
            self._fits(len(value) * max([1, *longest]))
        elif name in ("format", "format_map") and isinstance(value, str) and _WIDE.search(value):
            raise TemplateLimitError("a format with so large a width, or one that is an argument")

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute ``+``, ``*``, ``**`` or ``%`` where the result is not too large."""
        if type(left) is str and type(right) is str and operator == "+":
            self._fits(len(left) + len(right))
            return self.paid(left + right)
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > BITS:
                raise TemplateLimitError(f"{operator} makes an integer of {bits:,} bits")
        elif operator == "*":
            times = left if isinstance(left, int) else right
            if isinstance(times, int):
                self._fits(_length(right if times is left else left) * times)
        elif operator == "+":
            self._fits(_length(left) + _length(right))
        elif operator == "%" and isinstance(left, str):
            self.check("format", left, (right,))
        return self.paid(super().call_binop(context, operator, left, right))

    def call(self, context: Context, function: object, /, *args: object, **kwargs: object) -> object:
        """Call a function or a method of the template's where the result is not too large."""
        owner = getattr(function, "__self__", None)
        if owner is self:
            return self._own(function, args)
        if isinstance(owner, str | bytes | int | list | tuple | dict):
            self.check(getattr(function, "__name__", ""), owner, (*args, *kwargs.values()))
            return self.paid(super().call(context, function, *args, **kwargs))
        return super().call(context, function, *args, **kwargs)

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:
        """Return Jinja's safe ``str.format`` where ``value`` is that method, with limits on widths."""
        safe = super().wrap_str_format(value)
        if safe is None:
            return None
        text = getattr(value, "__self__", "")

        @wraps(safe)
        def limited(*args: object, **kwargs: object) -> str:
            self.check("format", text, (*args, *kwargs.values()))
            return safe(*args, **kwargs)

        return limited

    def _own(self, function: object, arguments: Sequence[object]) -> object:
        """Call one of the payments, which no template has a name for."""
        if function == self.step:
            return self.step()
        return self.joined(*arguments) if function == self.joined else self.paid(*arguments)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed = super()._parse(source, name, filename)
        self.budget.plain = is_plain(parsed)
        if self.budget.plain:
            return parsed
        metered: nodes.Template = _Metered(self).visit(parsed)
        return metered

    def _fits(self, length: int) -> None:
        if length > LONGEST:
            raise TemplateLimitError(f"a text or list of {length:,} is longer than {LONGEST:,}")


def is_plain(template: nodes.Template) -> bool:
    """Return whether a template is short by its form, as most chat templates are.

    It has one level of loops, over data; it calls nothing but ``raise_exception``, keeps nothing in loops, and adds
    and tests alone. So it writes at most its own text and its data for each row of the data, and needs no payments.
    """
    loops = list(template.find_all(nodes.For))
    for node in loops:
        inside = (nodes.For, nodes.Assign, nodes.AssignBlock)
        if node.recursive or isinstance(node.iter, nodes.Call) or any(node.find_all(inside)):
            return False
    if any(any(node.find_all(nodes.Add)) for node in template.find_all(nodes.Assign)):
        return False  # it could double what it keeps
    calls = template.find_all(nodes.Call)
    if not all(isinstance(call.node, nodes.Name) and call.node.name == "raise_exception" for call in calls):
        return False
    if any(node.name not in _SHORTENING for node in template.find_all(nodes.Filter)):
        return False
    return all(isinstance(node, _PLAIN) for node in template.find_all(nodes.Node))


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0

"""Names of objectives: built-in ones, those of installed packages, those of a user's own file."""

import importlib
import pkgutil
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from losses.compose import compose
from losses.grammar import is_expression
from losses.objective import REGISTERED, DuplicateObjective, Objective
from losses.param import suggest

GROUP = "bench.losses"


class UnknownObjective(KeyError):  # noqa: N818
    """A name that no objective has."""

    def __str__(self) -> str:
        return self.args[0]  # KeyError would show the message in quotes, with escapes


class ObjectiveFileError(ValueError):
    """A user's file, or an installed package, that gives no objective."""


class Registry:
    """Objectives by name: those that decorators have registered, and those that installed packages offer."""

    def __init__(self, objectives: dict[str, Objective]) -> None:
        self._objectives = objectives
        self._plugins: dict[str, EntryPoint] = {}
        self._collisions: dict[str, str] = {}
        self._discovered = False

    def discover(self) -> None:
        """Import the built-in families and read, without importing it, what installed packages offer."""
        if self._discovered:
            return
        package = importlib.import_module("losses.objectives")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        plugins: dict[str, EntryPoint] = {}
        for point in entry_points(group=GROUP):
            other = plugins.get(point.name, self._objectives.get(point.name))
            if isinstance(other, Objective) and other.fn.__module__ == point.module:
                continue
            if other is not None:
                # One package must not take all others down: the name stays with who had it first.
                origin = other.origin if isinstance(other, Objective) else _describe(other)
                self._collisions[_describe(point)] = (
                    f"two objectives are named {point.name!r}: {origin} and {_describe(point)}; uninstall or rename one"
                )
                continue
            plugins[point.name] = point
        self._plugins = plugins
        self._discovered = True

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        self.discover()
        return tuple(sorted({*self._objectives, *self._plugins}))

    def problems(self) -> dict[str, str]:
        """Return what installed packages offer in vain, by entry point; see the function ``problems``."""
        reasons = dict(self._collisions) if self.names() else {}
        for name, point in self._plugins.items():
            try:
                self.get(name)
            except ObjectiveFileError as error:
                reasons[_describe(point)] = str(error)
        return reasons

    def get(self, name: str) -> Objective:
        """Return the objective of a name or of an expression; see the function ``get``."""
        self.discover()
        if is_expression(name):
            return compose(name, lookup=self.get, known=self.names())
        if name not in self._objectives and name in self._plugins:
            self._load(name, self._plugins[name])
        if name not in self._objectives:
            known = self.names()
            raise UnknownObjective(f"no objective is named {name!r}; {suggest(name, known)}known: {', '.join(known)}")
        return self._objectives[name]

    def _load(self, name: str, point: EntryPoint) -> None:
        try:
            loaded = point.load()
        except Exception as error:
            raise ObjectiveFileError(
                f"objective {name!r} of {_describe(point)} cannot be loaded: {type(error).__name__}: {error}; "
                "repair or uninstall that package"
            ) from error
        if name not in self._objectives:
            raise ObjectiveFileError(
                f"{_describe(point)} is listed as objective {name!r} but gave {type(loaded).__name__}, not an "
                "objective of that name; the entry point's name must be the function's name"
            )

    def load_file(self, path: Path) -> tuple[Objective, ...]:
        """Run a Python file and return the objectives it registers; see the function ``register_file``."""
        self.discover()
        before = dict(self._objectives)
        for name, objective in before.items():
            if objective.file == str(path):
                del self._objectives[name]
        kept = set(self._objectives)
        try:
            _run(path)
            registered = tuple(objective for name, objective in self._objectives.items() if name not in kept)
            if not registered:
                raise ObjectiveFileError(
                    f"{path} registers no objective; decorate a function with @objective(...) "
                    "from losses.objective, as the files in losses/objectives do"
                )
        except BaseException:
            self._objectives.clear()
            self._objectives.update(before)
            raise
        return registered


_REGISTRY = Registry(REGISTERED)


def names() -> tuple[str, ...]:
    """Return the names of all objectives, sorted: built-in, of installed packages, of files read so far."""
    return _REGISTRY.names()


def problems() -> dict[str, str]:
    """Return what installed packages offer in vain, with the reason: a name that is taken, code that does not load.

    It imports every package that offers objectives.
    """
    return _REGISTRY.problems()


def get(name: str) -> Objective:
    """Return the objective of a name, or the one that an expression such as ``"dpo+nll(0.2)"`` composes.

    An installed package offers objectives by entry points of the group ``bench.losses``, named like the
    objective and pointing to the module or the object; it is imported when it is asked for.

    Raises:
        UnknownObjective: when there is none; the message says which there are.
        ObjectiveFileError: when the package that offers it cannot be loaded.
        ExpressionError: when an expression cannot be read, or its parts do not go together.
    """
    return _REGISTRY.get(name)


def register_file(path: str | Path) -> tuple[Objective, ...]:
    """Run a user's Python file, register the objectives it defines and return them.

    The file is run as it is: give only files that you trust. A file that was read before is read anew, and a file
    that fails changes nothing.

    Raises:
        ObjectiveFileError: when the file is missing, is no Python file, fails, or registers no objective.
        DuplicateObjective: when a name is taken; the message says where.
    """
    path = Path(path)
    try:
        exists = path.is_file()
    except OSError as error:  # a name that is too long
        raise ObjectiveFileError(f"cannot read objectives from {str(path)[:80]}…: {error.strerror}") from error
    if path.suffix != ".py" or not exists:
        why = "is not a Python file (.py)" if path.suffix != ".py" else "does not exist"
        raise ObjectiveFileError(f"cannot read objectives from {path}: it {why}")
    return _REGISTRY.load_file(path.resolve())


def _run(path: Path) -> None:
    # Compiled here and not by an import: a cached .pyc beside the file could be older than an edit in the same second.
    module = ModuleType(f"losses_file_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and type hints look their module up by name
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except (DuplicateObjective, ObjectiveFileError):
        raise
    except (Exception, SystemExit) as error:
        raise ObjectiveFileError(f"{path} failed: {type(error).__name__}: {error}") from error


def _describe(point: EntryPoint) -> str:
    package = f" of package {point.dist.name}" if point.dist is not None else ""
    return f"entry point {point.value!r}{package}"

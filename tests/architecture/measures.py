"""Counts of a source tree: loose modules, layers, circles, size, and how often a type is ``Any``."""

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("bench", "losses", "sweeps")
Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is counted of a tree. A circle is a set of modules (or packages) of which each imports all, by some path."""

    root_modules: int
    modules: int
    lines: int
    packages: int
    largest_package: tuple[str, int]
    package_floors: int
    package_circles: tuple[tuple[str, ...], ...]
    module_floors: int
    module_circles: tuple[tuple[str, ...], ...]
    any_in_bench: int


def measure(root: Path) -> Measures:
    """Count a checkout at ``root``. Every import counts: inside functions and for types alone, too."""
    sources = {name: path for package in PACKAGES for name, path in _modules(root, package)}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in sources.items()}
    modules = {name: _imports(name, tree, sources) for name, tree in trees.items()}
    packages = _between_packages(modules)
    folders = Counter(str(path.parent.relative_to(root)) for name, path in sources.items() if name.startswith("bench"))
    return Measures(
        root_modules=sum(1 for _ in (root / "bench").glob("*.py")),
        modules=sum(1 for name in sources if name.split(".")[0] == "bench"),
        lines=sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (root / "bench").rglob("*.py")),
        packages=sum(1 for name in packages if name.startswith("bench.") and (root / name.replace(".", "/")).is_dir()),
        largest_package=folders.most_common(1)[0],
        package_floors=floors(packages),
        package_circles=circles(packages),
        module_floors=floors(modules),
        module_circles=circles(modules),
        any_in_bench=sum(_any(tree) for name, tree in trees.items() if name.split(".")[0] == "bench"),
    )


def circles(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Return the circles: strongly connected sets of more than one node, each sorted."""
    return tuple(sorted(tuple(sorted(part)) for part in _components(graph) if len(part) > 1))


def floors(graph: Graph) -> int:
    """Return the number of nodes on the longest path down, where each circle counts as one node."""
    component = {node: index for index, part in enumerate(_components(graph)) for node in part}
    height: dict[int, int] = {}
    # Tarjan's order: what a component imports comes before it.
    for index, part in enumerate(_components(graph)):
        below = {component[other] for node in part for other in graph[node]} - {index}
        height[index] = 1 + max((height[other] for other in below), default=0)
    return max(height.values(), default=0)


def _modules(root: Path, package: str) -> Iterable[tuple[str, Path]]:
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(name: str, tree: ast.AST, known: Mapping[str, Path]) -> frozenset[str]:
    targets: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            targets |= {target if target in known else node.module for target in full}
    return frozenset(target for target in targets if target in known and target != name)


def _between_packages(modules: Graph) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {_package(name): set() for name in modules}
    for name, targets in modules.items():
        found[_package(name)] |= {_package(target) for target in targets} - {_package(name)}
    return {name: frozenset(targets) for name, targets in found.items()}


def _package(module: str) -> str:
    """The first two parts of ``bench.…``; a loose module at the root of ``bench`` is a package of its own."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "bench" else parts[0]


def _components(graph: Graph) -> list[list[str]]:
    """Strongly connected components by Tarjan's algorithm; those that others import come first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    done: list[list[str]] = []
    for start in sorted(graph):
        if start in index:
            continue
        index[start] = low[start] = len(index)
        stack.append(start)
        path = [(start, iter(sorted(graph[start])))]
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    done.append(stack[cut:])
                    del stack[cut:]
            elif following not in index:
                index[following] = low[following] = len(index)
                stack.append(following)
                path.append((following, iter(sorted(graph[following]))))
            elif following in stack:
                low[node] = min(low[node], index[following])
    return done


def _any(tree: ast.AST) -> int:
    """How often ``Any`` stands as a type."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree)) + sum(
        node.value.count("Any")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_type(node.value)
    )


def _is_type(text: str) -> bool:
    return len(text) < 80 and "Any" in text and all(sign.isalnum() or sign in " [],.|_" for sign in text)

"""Rules of CONTRIBUTING.md that a machine can check: words, lengths, links, and paths in the documentation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core.data_options import FORMATS
from losses.registry import names

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "losses", "sweeps")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WORDS = frozenset({"told", "said", "asked", "given", "found", "held", "shown", "brought", "posted"})
ALLOWED = {
    "held_out": "a standard term: held-out data",
}
"""Names that may contain one of WORDS, each with its reason. Fields that are written to disk belong here."""


def _identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of everything that a module names: definitions, arguments, variables, attributes, aliases."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.lineno, node.name


def _words(identifier: str) -> set[str]:
    for allowed in ALLOWED:
        identifier = re.sub(rf"(?<![a-zA-Z]){allowed}(?![a-zA-Z])", "", identifier)
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def forbidden(source: str) -> list[tuple[int, str]]:
    """Return line and name of each identifier of ``source`` that has a word of WORDS."""
    return [(line, name) for line, name in _identifiers(ast.parse(source)) if _words(name) & WORDS]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _parts(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(path: Path) -> str:
    """The document without its code blocks, whose brackets are no links."""
    text = re.sub(r"^```.*?^```", "", _text(path), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE))


def _anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ +(.+?)\s*$", re.sub(r"^```.*?^```", "", _text(path), flags=re.S | re.M), flags=re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_the_check_of_identifiers_sees_each_kind_and_passes_what_is_allowed():
    source = (
        "def told_all(asked, held_out): pass\nclass Shown: pass\nfound: int = 1\nx.given_name = 2\n"
        "import a as said\nfor posted in x: founded = tells = begiven = 0\nheld_out_found = 1\n_SAID = 1\n"
    )
    assert sorted(name for _, name in forbidden(source)) == sorted(
        ["told_all", "asked", "Shown", "found", "given_name", "said", "posted", "held_out_found", "_SAID"]
    )


def _package(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if parts[0] == "bench" else parts[0]


@pytest.mark.parametrize("package", sorted({_package(path) for path in MODULES}))
def test_identifiers_name_things(package):
    modules = [path for path in MODULES if _package(path) == package]
    wrong = [f"{_parts(path)}:{line} {name}" for path in modules for line, name in forbidden(_text(path))]
    assert not wrong, "\n".join(["see «Names» in CONTRIBUTING.md", *wrong])


def test_every_module_begins_with_a_noun_phrase():
    lines = {path: (ast.get_docstring(ast.parse(_text(path))) or "").split("\n")[0] for path in MODULES}
    assert [_parts(path) for path, line in lines.items() if not line and _text(path)] == []
    assert [_parts(path) for path, line in lines.items() if re.match(r"(Owns|See)\b", line)] == []


def test_the_readme_and_the_style_page_are_short():
    assert len(_text(ROOT / "README.md").splitlines()) <= 120
    style = _text(ROOT / "CONTRIBUTING.md").split("<!-- style: begin -->")[1].split("<!-- style: end -->")[0]
    assert 10 < len(style.splitlines()) <= 60


def test_the_readmes_numbers_are_those_of_the_registries():
    text = _text(ROOT / "README.md")
    assert re.findall(r"(\d+) objectives", text) == [str(len(list(names())))]
    assert re.findall(r"(\d+) formats", text) == [str(len(FORMATS))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=_parts)
def test_every_link_of_a_document_has_a_target(path):
    text = _prose(path)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", [each for each in DOCUMENTS if each.name != "CHANGELOG.md"], ids=_parts)
def test_every_module_that_a_document_names_exists(path):
    text = _text(path)
    files = re.findall(r"\b((?:bench|losses|sweeps|tests)/[\w/.-]+\.(?:py|toml|yaml|c|h|jinja))\b", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    dotted = re.findall(r"\b(?:from|import|-m) ((?:bench|losses|sweeps|tests)(?:\.\w+)*)", text)
    dotted += re.findall(r"`((?:bench|losses|sweeps)(?:\.[a-z_]\w*)+)", text)
    assert [name for name in dotted if not _resolves(name)] == []


def _resolves(name: str) -> bool:
    """Whether ``name`` is a module or package, or something that one defines or imports."""
    if name == "bench.losses":  # the group of entry points
        return True
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:cut])
        file = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
        if base.is_dir() and cut == len(parts):
            return True
        if file.exists():
            return cut == len(parts) or re.search(rf"\b{parts[cut]}\b", _text(file)) is not None
    return False


def test_every_page_is_in_the_index():
    index = _text(ROOT / "docs" / "README.md")
    assert [each.name for each in (ROOT / "docs").glob("*.md") if f"({each.name})" not in index] == ["README.md"]

"""Owns command lines that cannot be right: every option of every command with hostile values, and unknown names."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bad_inputs.trying import Case, Told, bench

OUT = "{out}"
SMALL = ("--suite", "exact", "--set", "contexts=4", "--set", "problem.pairs=64", "--set", "steps=4", "--workers", "1")
BASES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("run",): ("--loss", "dpo", *SMALL, "--dry-run", "--out", OUT),
    ("losses", "show"): ("dpo",),
    ("suites", "build"): ("sentiment", "--corpus", "gone", "--out", OUT),
}
"""What each command needs besides the option in question; a command that is not here gets ``--out``."""
VALUES = (
    "", " ", "x", "-1", "0", "1.5", "nan", "inf", "1e999", "9" * 30, "9" * 5000, "²", "١", "null", "true", "[]", "{}", "=", ",", ",,",
    "a=b=c", "beta=", "=1", "../../escape", "/dev/null", "/dev/null/x", "/proc/1/mem", "x" * 300, "x" * 6000, "💥",
    "[red]x[/red]", "[/nope]", "\x1b[31mred", "a\nb", "'\"`$(touch pwned)`", "%s%n{0}{x}", "\udcff", "*", "?", "run:*",
    "run:../..", "http://localhost:9/x", "sqlite:////dev/null/x.db", "<script>alert(1)</script>",
)  # fmt: skip
"""Values that most options cannot take. ``\\udcff`` is how Python gives a byte that is no UTF-8."""


def cases() -> Iterator[Case]:
    """Each option of each command with each value, then what is wrong with names and numbers of arguments."""
    for path, command in commands():
        options = [each for each in command.params if each.param_type_name == "option"]
        for option in options:
            name = next(opt for opt in option.opts if opt.startswith("--"))
            for value in VALUES if not option.is_flag else VALUES[:3]:
                yield of(f"{' '.join(path)} {name} {shown(value)}", (*path, *without(path, name), f"{name}={value}"))
            if not option.is_flag:
                yield of(f"{' '.join(path)} {name} alone", (*path, *without(path, name), name), codes=(2,))
        for argument in (each for each in command.params if each.param_type_name == "argument"):
            for value in VALUES:
                yield of(
                    f"{' '.join(path)} {argument.name} {shown(value)}",
                    (*path, "--", value) if path != ("suites", "build") else (*path, "--corpus", "gone", "--", value),
                )
        yield of(f"{' '.join(path)} --nonsense", (*path, "--nonsense"), codes=(2,))
        yield of(f"{' '.join(path)} one argument too many", (*path, *base(path), "one", "two", "three"), codes=(2,))
    for words in (("nonsense",), ("",), ("--nonsense",), ("-x",), ("run", "run"), ("losses", "nonsense"), ("💥",)):
        yield of(" ".join(map(shown, words)) or "nothing", words, codes=(2,))


def commands() -> list[tuple[tuple[str, ...], Any]]:
    """Every command with its name's words, groups included: none can be forgotten."""
    import typer

    from bench.cli import app

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if path:
            yield path, command
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, (*path, name))

    return list(walk(typer.main.get_command(app), ()))


def base(path: tuple[str, ...]) -> tuple[str, ...]:
    """What a command is given besides what is wrong."""
    if path in BASES:
        return BASES[path]
    command = dict(commands())[path]
    has_out = any("--out" in option.opts for option in command.params)
    return ("--out", OUT) if has_out else ()


def without(path: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The base without an option that is given otherwise, unless it may be repeated."""
    words = list(base(path))
    while name in words and name != "--set":
        place = words.index(name)
        del words[place : place + (1 if name == "--dry-run" else 2)]
        if name == "--dry-run":
            words += ["--loss", "nonsense"]  # still nothing is trained
    return tuple(words)


def of(name: str, words: Sequence[str], *, codes: tuple[int, ...] = (0, 1, 2), kind: str = "command line") -> Case:
    """A case of a command line, run in its folder; ``{out}`` is the results folder there."""
    return Case(kind=kind, name=name, attempt=typed(words), codes=codes)


def typed(words: Sequence[str]) -> Callable[[Path], Told]:
    """Run a command line in a folder."""

    def attempt(folder: Path) -> Told:
        given = [
            word if word != OUT and f"={OUT}" not in word else word.replace(OUT, str(folder / "out")) for word in words
        ]
        with contextlib.chdir(folder):
            told = bench(*given)
        stray = (folder / "pwned").exists()
        assert not stray, "a value was given to a shell"
        return told

    return attempt


def shown(value: str) -> str:
    """A value as it is told: escapes, and the beginning of a long one."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:30]}… ({len(value)} characters)"

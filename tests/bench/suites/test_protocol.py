"""Every suite folder provides what the protocol of suites asks for, and nothing outside names a suite."""

import ast
import inspect
import re

import pytest

from bench.core.assets import SUITES
from bench.suites.protocol import SuiteModule, suite_module
from bench.suites.settings import get_suite, suite_names

FUNCTIONS = [name for name, value in vars(SuiteModule).items() if inspect.isfunction(value) and name[0] != "_"]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", suite_names())
def test_each_function_of_a_suite_takes_what_the_protocol_says(name, function):
    wanted = list(inspect.signature(getattr(SuiteModule, function)).parameters.values())[1:]
    parameters = list(inspect.signature(getattr(suite_module(get_suite(name)), function)).parameters.values())
    assert [(p.name, p.kind) for p in parameters] == [(p.name, p.kind) for p in wanted]


def test_opening_and_measuring_a_run_names_no_suite():
    runner = SUITES.parent / "runner"
    common = ["prepare", "workspace", "measure", "pruning", "run", "plan", "pool", "keys"]
    files = [runner / f"{name}.py" for name in common]
    for file in [*files, SUITES / "protocol.py", SUITES / "settings.py", SUITES / "sampling.py"]:
        imports = [
            node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
        ]
        modules = [node.module or "" for node in imports]
        assert not [m for m in modules if re.match(rf"bench\.suites\.({'|'.join(suite_names())})\b", m)], file.name

"""Packages form layers, and import only from lower layers."""

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fanfold"

LAYERS = [  # lowest first; packages of one layer do not import each other
    "errors",
    "_base",
    "_ports check",
    "observers",
    "idempotency logs otel capture folds+_folds protocols",
    "sources sinks inmemory aws",
    "_breakers",
    "_consumer payloads",
    "powertools _worker _dead_letters _jobs",
    "_replay _report",
    "_stack",
    "testing bench init",
    "cli",
]
SDKS = {"aiobotocore", "boto3", "botocore"}
MAY_IMPORT_AN_SDK = {"aws", "_stack"}
LONGEST_CHAIN = 12
REPRODUCIBLE = {"_replay", "bench", "inmemory"}
"""Packages of tools whose random numbers come from a seed that the user chooses."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for unit in layer.split() for name in unit.split("+")}
UNIT = {name: unit for layer in LAYERS for unit in layer.split() for name in unit.split("+")}

pytestmark = pytest.mark.uncounted


@functools.cache
def modules() -> Mapping[str, Path]:
    """Return modules by dotted name, except ``fanfold`` and ``fanfold.__main__``, which may import any layer."""
    files = [file for file in sorted(SOURCE.rglob("*.py")) if "templates" not in file.relative_to(SOURCE).parts]
    dotted = [
        (".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"), file) for file in files
    ]
    return {name: file for name, file in dotted if name not in {"__init__", "__main__"}}


class Facts(NamedTuple):
    """The facts about a file, which is parsed once."""

    imports: frozenset[str]
    """Every module that it imports, at the top or in a function, and imported names that may be modules."""
    functions: Mapping[str, int]
    """Lines of the functions, without their docstrings."""


@functools.cache
def facts(file: Path) -> Facts:
    """Return the imports and the functions of a file."""
    names, functions = set[str](), dict[str, int]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions[node.name] = max(lines_of(node), functions.get(node.name, 0))
    return Facts(frozenset(names), functions)


def imports(file: Path) -> frozenset[str]:
    return facts(file).imports


@functools.cache
def ours(module: str) -> frozenset[str]:
    """Return the modules of fanfold that a module imports."""
    names = [name.removeprefix("fanfold.") for name in imports(modules()[module]) if name.startswith("fanfold.")]
    homes = [name if name in modules() else name.rpartition(".")[0] for name in names]
    return frozenset(home for home in homes if home in modules())


def package(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def chain(module: str) -> tuple[str, ...]:
    """Return the longest chain of imports from a module; a cycle raises RecursionError."""
    return (module, *max((chain(imported) for imported in ours(module)), key=len, default=()))


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_every_package_has_a_layer():
    """A new package must be added to a layer."""
    assert {package(module) for module in modules()} == set(RANK)


@pytest.mark.parametrize("name", sorted(RANK))
def test_a_package_imports_only_from_lower_layers(name: str):
    """Packages of one layer do not import each other."""
    wrong = {
        (module, target)
        for module in modules()
        if package(module) == name
        for target in ours(module)
        if UNIT[package(target)] != UNIT[name] and RANK[package(target)] >= RANK[name]
    }
    assert not wrong


def test_there_are_no_import_cycles_and_no_long_import_chains():
    """This includes imports within a package."""
    longest = max((chain(module) for module in modules()), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


@pytest.mark.parametrize("name", sorted(RANK))
def test_a_name_with_an_underscore_stays_in_its_package(name: str):
    """Names in a package whose path starts with an underscore are public within fanfold."""
    private = {
        (module, target)
        for module in modules()
        if package(module) == name
        for target in imports(modules()[module])
        if target.startswith("fanfold.") and package(target.removeprefix("fanfold.")) != name
        if any(part.startswith("_") and not part.startswith("__") for part in target.split(".")[2:])
    }
    assert not private


def test_only_the_adapters_import_an_sdk():
    """The engine does not depend on AWS."""
    users = {package(module) for module, file in modules().items() if {n.split(".")[0] for n in imports(file)} & SDKS}
    assert users <= MAY_IMPORT_AN_SDK


@pytest.mark.parametrize("module", sorted(modules()))
def test_modules_and_functions_are_short(module: str):
    """A module has at most 400 lines, and a function at most 60 without its docstring."""
    assert len(modules()[module].read_text().splitlines()) <= 400
    assert {name for name, lines in facts(modules()[module]).functions.items() if lines > 60} == set()


def test_only_reproducible_tools_use_the_module_random():
    """Its state is part of a snapshot; ``aws/clients.py`` uses it only to seed it after a restore."""
    users = {module for module, file in modules().items() if {n.split(".")[0] for n in imports(file)} & {"random"}}
    assert {module for module in users if package(module) not in REPRODUCIBLE} == {"aws.clients"}

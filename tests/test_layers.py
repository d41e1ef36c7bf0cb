"""Packages lie in layers, and imports go one way."""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fanfold"

LAYERS = [  # lowest first; packages of one layer do not import each other
    "errors",
    "_base",
    "_ports check",
    "observers",
    "idempotency logs otel capture folds+_folds protocols",
    "sources sinks inmemory aws",
    "_consumer payloads",
    "powertools _worker _jobs",
    "_replay",
    "_stack",
    "testing bench init",
    "cli",
]
SDKS = {"aiobotocore", "boto3", "botocore"}
MAY_IMPORT_AN_SDK = {"aws", "_stack"}
LONGEST_CHAIN = 11

RANK = {name: rank for rank, layer in enumerate(LAYERS) for unit in layer.split() for name in unit.split("+")}
UNIT = {name: unit for layer in LAYERS for unit in layer.split() for name in unit.split("+")}

pytestmark = pytest.mark.usefixtures("parsing")


@functools.cache
def modules() -> Mapping[str, Path]:
    """Return every module below ``fanfold`` by its dotted name; the package and its entry point bind the layers."""
    files = [file for file in sorted(SOURCE.rglob("*.py")) if "templates" not in file.relative_to(SOURCE).parts]
    dotted = [
        (".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"), file) for file in files
    ]
    return {name: file for name, file in dotted if name not in {"__init__", "__main__"}}


def imports(file: Path) -> Iterator[str]:
    """Yield every module a file imports, at its top or inside a function, and names that may be modules."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
    """Return the longest chain of imports that begins at a module; endless, thus an error, where there is a cycle."""
    return (module, *max((chain(each) for each in ours(module)), key=len, default=()))


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_every_package_has_its_layer():
    """A new package is given its place."""
    assert {package(module) for module in modules()} == set(RANK)


@pytest.mark.parametrize("name", sorted(RANK))
def test_a_package_imports_only_from_lower_layers(name: str):
    """Data flows one way, and so do imports; packages of one layer know nothing of each other."""
    wrong = {
        (module, target)
        for module in modules()
        if package(module) == name
        for target in ours(module)
        if UNIT[package(target)] != UNIT[name] and RANK[package(target)] >= RANK[name]
    }
    assert not wrong


def test_no_module_imports_itself_in_a_circle_and_no_chain_is_long():
    """Also within a package."""
    longest = max((chain(module) for module in modules()), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


@pytest.mark.parametrize("name", sorted(RANK))
def test_a_name_with_an_underscore_stays_in_its_package(name: str):
    """A package's path may begin with one; what is in it is then public within fanfold."""
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
    """The engine knows nothing of AWS."""
    users = {package(module) for module, file in modules().items() if {n.split(".")[0] for n in imports(file)} & SDKS}
    assert users <= MAY_IMPORT_AN_SDK


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_is_read_in_one_sitting_and_a_function_fits_on_a_screen(module: str):
    """No module has more than 400 lines, and no function more than 60, docstrings not counted."""
    source = modules()[module].read_text()
    assert len(source.splitlines()) <= 400
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert {function.name for function in functions if lines_of(function) > 60} == set()

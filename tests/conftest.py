"""Fixtures for all tests: a clean environment, and one emulated AWS for the whole run."""

import ast
import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

import tracing
from fanfold._base.operating_system import signals
from fanfold._stack.emulator import LocalStack
from shared_models import share_models
from shared_stack import shared_stack

# No deadlines, so that results do not depend on the load of the machine.
# `make deep` runs each property on all examples that it asks for; `make test` and `make check`, on at most these.
settings.register_profile("deep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("test", settings.get_profile("deep"), max_examples=25)
settings.register_profile("inner", settings.get_profile("deep"), max_examples=10)
settings.load_profile("test")
share_models()
TESTS = Path(__file__).parent
COUNTED = {"unit", "contract", "properties"}
"""Folders of tests that coverage counts."""


def parse_undisturbed(*arguments: Any, _parse: Any = ast.parse, **more: Any) -> Any:
    """Parse Python code, as ``ast.parse`` does, without a garbage collection: finalizers can corrupt the parser.

    Hypothesis parses the lambdas that it describes (CPython 3.11: "AST constructor recursion depth mismatch").
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return _parse(*arguments, **more)
    finally:
        if collects:
            gc.enable()


if sys.version_info < (3, 12):
    ast.parse = parse_undisturbed


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import what coverage measures, and stop to trace: the collection would take twice as long."""
    tracing.stop()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count quick tests with fixed inputs only: random ones may miss a line tomorrow, and tracing doubles the time.

    The mark ``no_cover`` of pytest-cov has no effect in the processes of pytest-xdist.
    """
    tracing.is_counted = is_counted(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Trace the fixtures of a test that is counted, not pytest itself."""
    with tracing.traced():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Trace a test that is counted."""
    with tracing.traced():
        return (yield)


def is_counted(item: pytest.Item) -> bool:
    """Return whether coverage counts a test: one of a package, of a backend, or with the mark ``counted``."""
    if any(item.get_closest_marker(name) for name in ("slow", "stack", "uncounted")):
        return False
    if item.get_closest_marker("counted"):
        return True
    is_of_a_package = bool(COUNTED & set(item.path.relative_to(TESTS).parts))
    return is_of_a_package and not is_hypothesis_test(getattr(item, "obj", None))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limit the examples of properties that set their number, too; those that coverage counts do not vary.

    Except with ``--hypothesis-profile=deep``.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = spread(items)
    if (limit := settings.default.max_examples) == settings.get_profile("deep").max_examples:
        return
    counted = {item.function: is_counted(item) for item in items if isinstance(item, pytest.Function)}
    for test, fixed in counted.items():
        if test_settings := getattr(test, "_hypothesis_internal_use_settings", None):
            limited = settings(test_settings, max_examples=min(test_settings.max_examples, limit))
            unvarying = {"derandomize": True, "database": None} if fixed else {}
            test._hypothesis_internal_use_settings = settings(limited, **unvarying)


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return tests in an order in which files that wait for an emulated AWS alternate with files that compute.

    If every test process waited at the same time, the cores would be idle. Files that wait and have many tests come
    first, and the last quarter has none that wait, so that no process runs a long one alone at the end.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.parent.name == "integration" or waits(files[path])]
    waiting.sort(key=lambda path: -len(files[path]))
    computing = [path for path in files if path not in waiting]
    places = {path: 0.75 * number / len(waiting) for number, path in enumerate(waiting)}
    places |= {path: number / len(computing) for number, path in enumerate(computing)}
    return [item for path in sorted(files, key=places.__getitem__) for item in files[path]]


def waits(tests: list[pytest.Item]) -> bool:
    """Return whether one of the tests uses an emulated AWS."""
    return any(test.get_closest_marker("stack") for test in tests)


def pytest_sessionstart() -> None:
    """Restore signal handlers, so that child processes can be interrupted even under ``nohup`` or in the background.

    Nothing that the collection of the tests creates is garbage.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signals("SIGHUP"):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Exclude objects that exist before the tests from garbage collection, which saves an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the user's AWS settings and those of other tests."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FANFOLD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The emulated AWS of all tests, started for the first test that needs it."""
    with shared_stack(tmp_path_factory.getbasetemp(), "stack") as running:
        yield running


@pytest.fixture
def aws(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """The emulated AWS, with the environment variables for it."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    return stack


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of Lambda."""
    return "asyncio"

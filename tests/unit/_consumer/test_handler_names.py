"""Worker processes find the same handler as the consumer."""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fanfold
import process_app
from fanfold._consumer.handler_names import HandlerName, find_handler, name_in_module, name_of_consumer
from fanfold.errors import ConfigurationError
from fanfold.testing import make_context, make_event

SOURCE = """
    import functools, fanfold, process_app

    def factory(value, **settings):
        @fanfold.consumer(**settings)
        def local(body):
            return value
        return local

    class Orders:
        def handle(self, body):
            return "method"

    threads, processes = factory(1), factory(2, processes=1)
    other = threads.with_settings(processes=1)
    imported = fanfold.consumer(processes=1)(process_app.act)
    method = fanfold.consumer(processes=1)(Orders().handle)
    partial = fanfold.consumer(processes=1)(functools.partial(process_app.factory))
    replaced = processes.with_function(lambda body: 3)

    @functools.lru_cache
    @fanfold.consumer
    def decorated(body):
        return 4
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that creates consumers in many ways."""
    import textwrap

    (tmp_path / "names_app.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("names_app")
    sys.modules.pop("names_app")


@pytest.mark.parametrize(
    ("name", "body", "value"),
    [
        ("processes", None, 2),  # not the function of the same name that runs on threads
        ("other", None, 1),
        ("imported", {"do": "return", "value": 5}, 5),  # another module defines it
        ("method", None, "method"),
        ("replaced", None, 3),
    ],
)
def test_a_worker_process_runs_the_handler_of_the_consumer(app, name, body, value):
    """Its qualified name, and the module that defines it, do not matter."""
    consumer = getattr(app, name)
    assert consumer.invoke(make_event(body), make_context(60)).outcomes == [fanfold.Done(value)]
    consumer.close()


def test_a_consumer_that_is_created_after_the_import_runs_what_the_module_has(app):
    """It is below decorators and a consumer, or a function without either."""
    for consumer, body in (
        (app.decorated.__wrapped__.with_settings(processes=1), None),
        (process_app.act, {"do": "x"}),
    ):
        function = getattr(consumer, "function", consumer)
        created = fanfold.consumer(processes=1)(function)
        value = function(body)
        assert created.invoke(make_event(body), make_context(60)).outcomes == [fanfold.Done(value)]
        created.close()


def test_a_module_that_is_imported_again_creates_the_same_names(app):
    """A new import counts from 0, as in a worker process."""
    before = name_of_consumer(app.processes.function)
    reloaded = importlib.reload(app)
    assert (
        name_of_consumer(reloaded.processes.function) == before == HandlerName("names_app", "factory.<locals>.local", 1)
    )


def test_what_a_module_does_not_have_is_not_found(app):
    """A number that is too high, and a name that is missing."""
    assert find_handler(HandlerName("names_app", "factory.<locals>.local", 2)) is None
    assert find_handler(HandlerName("names_app", "missing", 0)) is None
    assert find_handler(HandlerName("names_app", "missing.part", None)) is None
    assert find_handler(HandlerName("names_app", "decorated", None)) is app.decorated.__wrapped__.function


def renamed(body: object) -> None: ...


renamed.__qualname__ = "test_a_module_that_is_imported_again_creates_the_same_names"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (process_app.UnpicklableError("a", "b").with_traceback, "they cannot find it by its name in any module"),
        (functools.partial(process_app.act), r"^functools.partial\(.*cannot find it by its name in functools"),
        (renamed, "test_a_module.* cannot run in worker processes: they cannot find it by its name in"),
        (
            functools.wraps(process_app.act)(lambda body: None),
            "^act cannot run .* by its name in process_app. Define it",
        ),
    ],
)
def test_a_handler_that_a_process_would_not_find_by_its_name_is_refused(function: Callable[..., Any], message: str):
    """Its consumer is created after the import. Otherwise, another function could run."""
    with pytest.raises(ConfigurationError, match=message):
        name_in_module(function)

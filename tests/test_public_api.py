"""Public names: complete, sorted, and documented."""

import importlib
import inspect
from types import ModuleType

import pytest

import fanfold

PUBLIC = [
    "Auto",
    "Backoff",
    "BatchContext",
    "BatchResult",
    "Breaker",
    "CommitStage",
    "Consumer",
    "Context",
    "Deadline",
    "Done",
    "DynamoDBExport",
    "DynamoDBScan",
    "Failed",
    "InlineRun",
    "Items",
    "Job",
    "NotStarted",
    "Ranges",
    "Record",
    "Reject",
    "Rejected",
    "Retry",
    "Retrying",
    "S3Inventory",
    "S3JsonArray",
    "S3Lines",
    "S3Objects",
    "S3Parquet",
    "S3Select",
    "Segment",
    "SegmentContext",
    "Settings",
    "consumer",
    "errors",
    "run_inline",
]

MODULES = [
    "fanfold",
    "fanfold.capture",
    "fanfold.check.cfnlint",
    "fanfold.errors",
    "fanfold.folds",
    "fanfold.idempotency",
    "fanfold.inmemory",
    "fanfold.logs",
    "fanfold.observers",
    "fanfold.otel",
    "fanfold.payloads",
    "fanfold.powertools",
    "fanfold.protocols",
    "fanfold.sinks",
    "fanfold.sources",
    "fanfold.testing",
]
"""Modules that users import; all others may change without notice."""


def test_the_package_exports_exactly_these_names():
    """Adding a public name requires a change of this test."""
    assert fanfold.__all__ == PUBLIC
    assert dir(fanfold) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name: str):
    """Each name in ``__all__`` can be imported, and has a docstring."""
    assert inspect.getdoc(getattr(fanfold, name))


def test_the_decorator_is_not_shadowed_by_a_module():
    """``fanfold.consumer`` is the decorator even after the import of a submodule."""
    importlib.import_module("fanfold._consumer.consumer")
    assert callable(fanfold.consumer)
    assert not isinstance(fanfold.consumer, ModuleType)


def test_an_unknown_name_is_an_attribute_error():
    """A misspelled name raises AttributeError, unlike a missing extra."""
    with pytest.raises(AttributeError, match="no attribute 'Consumr'"):
        _ = fanfold.Consumr


@pytest.mark.parametrize("name", MODULES)
def test_all_is_sorted_and_complete(name: str):
    """``__all__`` is sorted, constants first, then classes, and every name in it exists."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert listed == sorted(listed, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert [name for name in listed if not hasattr(module, name)] == []


@pytest.mark.parametrize("name", MODULES)
def test_everything_in_all_is_documented(name: str):
    """Every public function and class, and every public method, has a docstring."""
    module = importlib.import_module(name)
    exported = [getattr(module, name) for name in getattr(module, "__all__", [])]
    objects = [value for value in exported if inspect.isclass(value) or inspect.isfunction(value)]
    methods = [
        method
        for value in objects
        if inspect.isclass(value)
        for label, method in vars(value).items()
        if not label.startswith("_") and (inspect.isfunction(method) or isinstance(method, property | staticmethod))
    ]
    assert [value for value in [*objects, *methods] if not inspect.getdoc(value)] == []

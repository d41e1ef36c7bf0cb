"""The public names are what they are said to be."""

import importlib
import inspect
from types import ModuleType

import pytest

import fanfold

PUBLIC = [
    "Backoff",
    "BatchContext",
    "BatchResult",
    "CommitStage",
    "Consumer",
    "Context",
    "Deadline",
    "Done",
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
    "S3JsonArray",
    "S3Lines",
    "S3Objects",
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
"""What users import; everything else may change without notice."""


def test_the_top_of_the_package_has_these_names_and_no_others():
    """A new public name is a visible change of this test."""
    assert fanfold.__all__ == PUBLIC
    assert dir(fanfold) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name: str):
    """Whatever is listed can be had, and says what it is."""
    assert inspect.getdoc(getattr(fanfold, name))


def test_the_decorator_is_not_shadowed_by_a_module():
    """Importing any submodule first leaves ``fanfold.consumer`` the decorator."""
    importlib.import_module("fanfold._consumer.consumer")
    assert callable(fanfold.consumer)
    assert not isinstance(fanfold.consumer, ModuleType)


def test_an_unknown_name_is_an_attribute_error():
    """A typing error is told apart from a missing extra."""
    with pytest.raises(AttributeError, match="no attribute 'Consumr'"):
        _ = fanfold.Consumr


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_what_a_module_offers(name: str):
    """``__all__`` is sorted, constants first, then classes, and every name in it exists."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert listed == sorted(listed, key=lambda each: (not each.isupper(), not each[0].isupper(), each))
    assert [each for each in listed if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_offers_is_documented(name: str):
    """Every public function and class, and every public method, has a docstring."""
    module = importlib.import_module(name)
    offered = [getattr(module, each) for each in getattr(module, "__all__", [])]
    ours = [each for each in offered if inspect.isclass(each) or inspect.isfunction(each)]
    methods = [
        method
        for each in ours
        if inspect.isclass(each)
        for label, method in vars(each).items()
        if not label.startswith("_") and (inspect.isfunction(method) or isinstance(method, property | staticmethod))
    ]
    assert [each for each in [*ours, *methods] if not inspect.getdoc(each)] == []

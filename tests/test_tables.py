"""Tables that must list every case of something are complete."""

import inspect
import typing

import pytest

import fanfold
from fanfold import Settings, sources
from fanfold._base.outcome import OUTCOMES, Outcome
from fanfold._consumer.consumer import consumer
from fanfold._replay import page, timeline

NAMES = {kind.__name__ for kind in OUTCOMES}


def test_the_type_of_outcomes_lists_all_outcomes():
    """The type alias and the tuple are equal, and all outcomes are public."""
    assert typing.get_args(Outcome) == OUTCOMES
    assert set(fanfold.__all__) >= NAMES


@pytest.mark.parametrize("table", [page._LETTERS, page._CLASSES, timeline.MARKS], ids=["letters", "classes", "marks"])
def test_a_replay_has_a_sign_for_every_outcome(table: dict[str | None, str]):
    """A replay would show an outcome without a sign as done."""
    assert table.keys() - {None} == NAMES


def test_the_decorator_has_a_keyword_argument_for_every_setting():
    """Type checkers accept only these arguments."""
    by_keyword = [inspect.signature(overload).parameters for overload in typing.get_overloads(consumer)][1]
    assert list(by_keyword) == list(Settings._names)


@pytest.mark.parametrize(("module", "name"), sources._HOMES.values())
def test_every_source_is_exported_and_has_the_methods_of_a_source(module: str, name: str):
    """A source has the methods ``pin``, ``cut``, ``read``, and ``rest``."""
    source = getattr(fanfold, name)
    assert (source.__module__, name in fanfold.__all__) == (module, True)
    assert [method for method in ("pin", "cut", "read", "rest") if not callable(getattr(source, method, None))] == []

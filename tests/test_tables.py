"""Tables that name every case of something name every case."""

import dataclasses
import inspect
import typing

import pytest

import fanfold
from fanfold import Settings, sources
from fanfold._base.outcome import OUTCOMES, Outcome
from fanfold._consumer.consumer import consumer
from fanfold._replay import page, timeline

NAMES = {kind.__name__ for kind in OUTCOMES}


def test_every_way_for_a_record_to_end_is_an_outcome():
    """For type checkers, and at run time."""
    assert typing.get_args(Outcome) == OUTCOMES
    assert set(fanfold.__all__) >= NAMES


@pytest.mark.parametrize("table", [page._LETTERS, page._CLASSES, timeline.MARKS], ids=["letters", "classes", "marks"])
def test_a_replay_shows_every_outcome_by_its_own_sign(table: dict[str | None, str]):
    """One that is missing would be shown as done."""
    assert table.keys() - {None} == NAMES


def test_the_decorator_takes_every_setting_by_name():
    """Type checkers know no others."""
    by_keyword = [inspect.signature(each).parameters for each in typing.get_overloads(consumer)][1]
    assert list(by_keyword) == [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize(("module", "name"), sources._HOMES.values())
def test_every_source_can_be_imported_from_the_top_and_does_what_sources_do(module: str, name: str):
    """It can pin itself, be cut and read, and say what is left."""
    source = getattr(fanfold, name)
    assert (source.__module__, name in fanfold.__all__) == (module, True)
    assert [method for method in ("pin", "cut", "read", "rest") if not callable(getattr(source, method, None))] == []

"""Handlers of other shapes: objects with attributes of a consumer's names, consumers of consumers, methods."""

import functools
from typing import ClassVar

import pytest

import fanfold
from batches import ids
from fanfold.errors import ConfigurationError
from fanfold.testing import deliver


class Handler:
    """A callable object that has what a consumer has too."""

    settings = "mine"
    function = "mine"
    concurrency = "mine"
    stats = "mine"

    def __init__(self) -> None:
        self.invoke = "mine"
        self.close = "mine"
        self._composer = "mine"
        self._runtime = "mine"
        self.seen: list[int] = []

    async def __call__(self, number) -> None:
        self.seen.append(number)


def test_a_callable_object_with_attributes_of_a_consumers_names_is_a_handler():
    """Its attributes replace none of the consumer's."""
    handler = Handler()
    consumer = fanfold.consumer(concurrency=2)(handler)
    assert ids(deliver(consumer, 0, 1).response) == []
    assert sorted(handler.seen) == [0, 1]
    assert consumer.concurrency == 2


def test_a_function_with_attributes_of_a_consumers_names_is_a_handler():
    """Decorators put attributes on the functions that they return."""

    async def handler(number) -> None: ...

    handler.settings = handler.function = handler._composer = "mine"
    assert ids(deliver(fanfold.consumer(handler), 0).response) == []


def test_attributes_that_decorators_set_can_still_be_read_from_the_consumer():
    """Such as the marks of a registry."""

    async def handler(number) -> None: ...

    handler.queue_name = "orders"
    assert fanfold.consumer(handler).queue_name == "orders"


def test_a_consumer_of_a_consumer_is_refused():
    """Which of the two settings counted would be a guess."""

    @fanfold.consumer(concurrency=3)
    async def inner(number) -> None: ...

    @functools.wraps(inner)
    def wrapped(event, context):
        return inner(event, context)

    for handler in (inner, wrapped):
        with pytest.raises(ConfigurationError, match="already a consumer"):
            fanfold.consumer(concurrency=5)(handler)


def test_a_method_in_a_class_body_is_refused():
    """``self`` would take the body, and the record would be acknowledged without its work done."""
    with pytest.raises(ConfigurationError, match=r"Orders\.handler is a method"):

        class Orders:
            @fanfold.consumer
            async def handler(self, order: dict) -> None: ...


def test_a_method_without_a_body_parameter_is_refused():
    """Also where ``self`` is all that it takes."""
    with pytest.raises(ConfigurationError, match="is a method"):

        class Orders:
            @fanfold.consumer(concurrency=2)
            def handler(self) -> None: ...


def test_a_static_method_and_a_bound_method_are_handlers():
    """Both take the body first."""

    class Orders:
        seen: ClassVar[list[int]] = []

        @staticmethod
        @fanfold.consumer
        async def static(number) -> None:
            Orders.seen.append(number)

        async def bound(self, number) -> None:
            self.seen.append(number)

    assert ids(deliver(Orders.static, 0).response) == []
    assert ids(deliver(fanfold.consumer(Orders().bound), 1).response) == []
    assert Orders.seen == [0, 1]

"""Resources that the batches of one execution environment share."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import fanfold
from fanfold import Retry
from fanfold._base.threads import Threads
from fanfold._consumer.environment import ExecutionEnvironment, open_environment
from fanfold._consumer.settings import Settings
from fanfold.errors import ConfigurationError
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import make_context, make_event


async def no_payloads() -> Any:
    raise AssertionError


def opens_nothing(_resource: object, _adapter: object) -> Any:
    raise AssertionError


@dataclass
class AnsweredBatch:
    """A batch with abandoned handlers, after its response."""

    abandoned: int

    @property
    def has_ended(self) -> bool:
        return not self.abandoned


def no_queue() -> str:
    return ""


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS region, which a client needs when it is created; it connects at its first call."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


async def test_an_execution_environment_without_a_lifespan_has_no_state():
    """It has no abandoned handlers either."""
    async with open_environment(Settings(), no_queue) as environment:
        assert environment.state is None
        assert environment.abandoned_handlers() == 0


async def test_the_lifespan_starts_and_ends_with_the_execution_environment():
    """The value that it yields is the state."""
    events = []

    @asynccontextmanager
    async def lifespan():
        events.append("enter")
        yield "state"
        events.append("exit")

    async with open_environment(Settings(lifespan=lifespan), no_queue) as environment:
        events.append(environment.state)
    assert events == ["enter", "state", "exit"]


async def test_the_settler_setting_replaces_sqs():
    """No SQS client is opened."""
    settler = InMemorySettler(InMemoryQueue())
    async with open_environment(Settings(settler=settler), no_queue) as environment:
        assert await environment.settler() is settler


async def test_no_settler_is_opened_unless_one_is_needed():
    """The URL of the queue is not read either."""

    def queue_url() -> str:
        raise AssertionError

    async with open_environment(Settings(), queue_url):
        pass


@pytest.mark.usefixtures("region")
async def test_a_settler_is_opened_once_for_concurrent_calls():
    """All calls return the same settler."""
    calls = []

    def queue_url() -> str:
        calls.append(1)
        return "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"

    async with open_environment(Settings(), queue_url) as environment:
        settlers = await asyncio.gather(*(environment.settler() for _ in range(10)))
    assert len({id(settler) for settler in settlers}) == 1
    assert calls == [1]


@pytest.mark.usefixtures("region")
async def test_a_settler_is_closed_at_the_end():
    """Its connections are closed."""
    async with open_environment(Settings(), no_queue) as environment:
        connections = (await environment.settler())._client._endpoint.http_session
        assert connections._sessions is not None
    assert connections._sessions is None


async def test_a_settler_that_cannot_be_opened_is_retried():
    """Without a region, each call raises the same error."""
    async with open_environment(Settings(), no_queue) as environment:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="no AWS region is set"):
                await environment.settler()


def test_the_settler_is_kept_from_one_batch_to_the_next():
    """The first delay opens it, on the event loop."""
    opened = []
    settler = InMemorySettler(InMemoryQueue())

    async def opening() -> InMemorySettler:
        opened.append(threading.current_thread().name)
        return settler

    @fanfold.consumer(settler=opening)
    async def handler(number) -> None:
        if number:
            raise Retry(after=5)

    handler(make_event(0), make_context())
    assert opened == []
    handler(make_event(1), make_context())
    handler.close()
    assert set(opened) == {"fanfold-loop"}


async def test_each_abandoned_handler_is_counted_once_over_all_batches():
    """A ``def`` handler that was just abandoned counts as a worker and as a thread."""
    environment = ExecutionEnvironment(
        None, Threads(), InMemorySettler(InMemoryQueue()), no_payloads, no_payloads, opens_nothing
    )
    for batch in (AnsweredBatch(2), AnsweredBatch(0), AnsweredBatch(3)):
        environment.track(batch)
    environment.threads.left.update(range(4))
    assert environment.abandoned_handlers() == 5
    environment.threads.left.update(range(6))
    assert environment.abandoned_handlers() == 6


async def test_batches_without_abandoned_handlers_are_removed():
    """Otherwise they would be kept for the life of the execution environment."""
    environment = ExecutionEnvironment(
        None, Threads(), InMemorySettler(InMemoryQueue()), no_payloads, no_payloads, opens_nothing
    )
    batches = [AnsweredBatch(1) for _ in range(3)]
    for batch in batches:
        environment.track(batch)
    batches[0].abandoned = batches[2].abandoned = 0
    last = AnsweredBatch(0)
    environment.track(last)
    assert environment._batches == [batches[1], last]
    assert environment.abandoned_handlers() == 1

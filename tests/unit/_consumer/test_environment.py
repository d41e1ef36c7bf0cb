"""What the batches of one execution environment share."""

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


@dataclass
class Rest:
    """What is left of a batch."""

    abandoned: int


def no_queue() -> str:
    return ""


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough of AWS to make a client, which connects to nothing before it is used."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


async def test_an_execution_environment_without_a_lifespan_has_no_state():
    """And nothing is left over in it."""
    async with open_environment(Settings(), no_queue) as environment:
        assert environment.state is None
        assert environment.abandoned_handlers() == 0


async def test_the_lifespan_is_entered_and_left_with_the_execution_environment():
    """What it yields is the state."""
    events = []

    @asynccontextmanager
    async def lifespan():
        events.append("enter")
        yield "state"
        events.append("leave")

    async with open_environment(Settings(lifespan=lifespan), no_queue) as environment:
        events.append(environment.state)
    assert events == ["enter", "state", "leave"]


async def test_a_settler_that_is_set_is_the_execution_environments_own():
    """Nothing is opened on SQS."""
    settler = InMemorySettler(InMemoryQueue())
    async with open_environment(Settings(settler=settler), no_queue) as environment:
        assert await environment.settler() is settler


async def test_no_settler_is_opened_as_long_as_none_is_needed():
    """The queue's address is not even asked for."""

    def asked() -> str:
        raise AssertionError

    async with open_environment(Settings(), asked):
        pass


@pytest.mark.usefixtures("region")
async def test_a_settler_is_opened_once_however_many_ask_at_once():
    """And all get the same."""
    asked = []

    def queue_url() -> str:
        asked.append(1)
        return "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"

    async with open_environment(Settings(), queue_url) as environment:
        settlers = await asyncio.gather(*(environment.settler() for _ in range(10)))
    assert len({id(settler) for settler in settlers}) == 1
    assert asked == [1]


@pytest.mark.usefixtures("region")
async def test_a_settler_is_closed_at_the_end():
    """Its connections are not left open."""
    async with open_environment(Settings(), no_queue) as environment:
        connections = (await environment.settler())._client._endpoint.http_session
        assert connections._sessions is not None
    assert connections._sessions is None


async def test_a_settler_that_cannot_be_opened_is_tried_again():
    """There is no region here; each call says so."""
    async with open_environment(Settings(), no_queue) as environment:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="no AWS region is set"):
                await environment.settler()


def test_the_settler_is_kept_from_one_batch_to_the_next():
    """Opened at the first delay, by the loop's own execution environment."""
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


def test_leftovers_are_counted_over_all_batches_and_each_once():
    """A plain handler that was just abandoned shows on the loop and on its thread."""
    environment = ExecutionEnvironment(None, Threads(), InMemorySettler(InMemoryQueue()), no_payloads, no_payloads)
    for rest in (Rest(2), Rest(0), Rest(3)):
        environment.track(rest)
    environment.threads.abandoned = 4
    assert environment.abandoned_handlers() == 5
    environment.threads.abandoned = 6
    assert environment.abandoned_handlers() == 6


def test_batches_of_which_nothing_is_left_are_forgotten():
    """They would be kept for the life of the execution environment otherwise."""
    environment = ExecutionEnvironment(None, Threads(), InMemorySettler(InMemoryQueue()), no_payloads, no_payloads)
    rests = [Rest(1) for _ in range(3)]
    for rest in rests:
        environment.track(rest)
    rests[0].abandoned = rests[2].abandoned = 0
    last = Rest(0)
    environment.track(last)
    assert environment._batches == [rests[1], last]
    assert environment.abandoned_handlers() == 1

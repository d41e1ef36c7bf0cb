"""A handler in a replay: idempotency in memory, simulated time, outages, reproducible jitter."""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fanfold
from fanfold._replay.endpoint import Endpoint, serving
from fanfold._replay.handler_settings import HandlerSettings, take_settings
from fanfold._replay.outage import Outage
from fanfold._replay.replayed_handler import ReplayedHandler
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.idempotency import Idempotency
from fanfold.testing import make_context, make_event
from settlers import RecordingSettler

OUTAGE = Outage(60, 1, "TimeoutError: the shop is closed")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving({}) as endpoint:
        yield endpoint


def failed(handler: ReplayedHandler, *bodies: Any, now: float = 0) -> list[str]:
    """Invoke a handler at a simulated time; return the ids of the messages that it reports as failed."""
    response = handler(make_event(*bodies), make_context(30), now)
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def recording(**settings: Any) -> tuple[Callable[..., Any], list[Any]]:
    """Return a consumer, and the bodies that its handler has received."""
    received: list[Any] = []

    @fanfold.consumer(**settings)
    async def handler(order: dict) -> None:
        received.append(order)

    return handler, received


def test_a_key_that_is_completed_stays_completed_when_the_process_is_replaced(endpoint: Endpoint):
    """The entries are in the replay, not in the process; without them, a killed batch would run its messages again."""
    idempotency = Idempotency(lambda order: order["id"], table="production")
    handler, received = recording(idempotency=idempotency)
    for _ in range(2):
        process = ReplayedHandler(handler, HandlerSettings(entries_url=endpoint.url))
        assert failed(process, {"id": 1}) == []
    assert received == [{"id": 1}]
    assert idempotency.open_entries is None, "the consumer itself is unchanged"


def test_entries_expire_in_simulated_time(endpoint: Endpoint):
    """An hour of simulated time takes no real time."""
    idempotency = Idempotency(lambda order: order["id"], table="production", expires_after_seconds=3_600)
    handler, received = recording(idempotency=idempotency)
    process = ReplayedHandler(handler, HandlerSettings(entries_url=endpoint.url))
    for now in (0, 3_500, 3_700):
        assert failed(process, {"id": 1}, now=now) == []
    assert len(received) == 2


def test_a_store_of_the_users_own_is_replaced_too(endpoint: Endpoint):
    """It may be the one that production uses."""

    def refuse() -> Any:
        raise AssertionError("the store of production was opened")

    handler, received = recording(idempotency=Idempotency(lambda order: order["id"], open_entries=refuse))
    assert failed(ReplayedHandler(handler, HandlerSettings(entries_url=endpoint.url)), {"id": 1}) == []
    assert received == [{"id": 1}]
    real = ReplayedHandler(handler, HandlerSettings(entries_url=None))
    assert failed(real, {"id": 1}) == ["message-0"], "on request, the handler's own store is used"


async def test_entries_that_cannot_be_reached_are_an_error_of_the_service():
    """The record is redelivered."""
    from fanfold._replay.kept_entries import RemoteEntries

    with pytest.raises(ServiceError, match="the replay's idempotency entries"):
        await RemoteEntries("http://127.0.0.1:9").read(["key"])


@pytest.mark.parametrize("concurrency", [1, 10])
def test_the_handler_of_a_consumer_fails_during_an_outage(concurrency: int):
    """With the chosen error, after the consumer's own stages; afterward, it runs."""
    handler, received = recording(concurrency=concurrency, reject_on=KeyError)
    process = ReplayedHandler(handler, HandlerSettings(outage=OUTAGE))
    assert failed(process, {"n": 1}, {"n": 2}, now=59.9) == ["message-0", "message-1"]
    assert received == []
    assert failed(process, {"n": 1}, now=60) == []
    assert received == [{"n": 1}]


def test_a_def_handler_fails_during_an_outage_too():
    """On its worker thread."""

    @fanfold.consumer
    def handler(order: dict) -> None: ...

    process = ReplayedHandler(handler, HandlerSettings(outage=OUTAGE))
    assert failed(process, {"n": 1}, now=0) == ["message-0"]
    assert failed(process, {"n": 1}, now=60) == []


def test_a_share_of_the_calls_fails():
    """The same calls for the same seed, others for another receive."""
    handler, _ = recording()

    def failing(seed: int) -> list[str]:
        settings = HandlerSettings(seed=seed, outage=Outage(60, 0.3, "ValueError"))
        return failed(ReplayedHandler(handler, settings), *range(100))

    assert failing(1) == failing(1) != failing(2)
    assert 15 < len(failing(1)) < 45


def test_the_whole_invocation_of_another_handler_fails_during_an_outage():
    """Lambda then redelivers the batch."""
    process = ReplayedHandler(lambda event, context: "done", HandlerSettings(outage=OUTAGE))
    with pytest.raises(TimeoutError, match="the shop is closed"):
        process(make_event(1), make_context(), 0.0)
    assert process(make_event(1), make_context(), 60.0) == "done"


def test_a_consumer_inside_decorators_is_replaced():
    """Also one that a decorator does not expose."""
    handler, received = recording()

    @functools.wraps(handler)
    def decorated(event: Any, context: Any) -> Any:
        return handler(event, context)

    del decorated.__wrapped__  # type: ignore[attr-defined] # as a decorator without functools.wraps
    process = ReplayedHandler(decorated, HandlerSettings(outage=Outage(60, 1e-9, "ValueError")))
    assert failed(process, {"n": 1}) == []
    assert received == [{"n": 1}]


def test_jitter_depends_on_the_message_and_not_on_the_order_of_failures():
    """So two replays agree, whichever record of a batch fails first."""

    def delays(order: list[int]) -> dict[str, int]:
        settler = RecordingSettler()

        @fanfold.consumer(backoff=fanfold.Backoff(base=10_000, jitter=1, cap=10_000), settler=settler, concurrency=1)
        async def handler(number: int) -> None:
            raise ValueError(number)

        records = make_event(*range(3))["Records"]
        process = ReplayedHandler(handler, HandlerSettings(seed=7))
        process({"Records": [records[number] for number in order]}, make_context(), 0.0)
        return {name: seconds for call in settler.visibility_changes for name, seconds in call}

    first = delays([0, 1, 2])
    assert first == delays([2, 0, 1])
    assert len(set(first.values())) == 3


def test_settings_reach_the_process_in_its_environment(monkeypatch: pytest.MonkeyPatch):
    """They are removed there, so that the handler does not see them."""
    settings = HandlerSettings(3, "http://127.0.0.1:1", OUTAGE)
    variables = settings.environment()
    assert variables["PYTHONHASHSEED"] == "3"
    assert variables["POWERTOOLS_IDEMPOTENCY_DISABLED"] == "true"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert take_settings() == settings
    assert take_settings() is None
    assert "FANFOLD_REPLAY" not in os.environ
    assert "POWERTOOLS_IDEMPOTENCY_DISABLED" not in HandlerSettings().environment()


def test_an_error_that_cannot_be_created_is_refused():
    """Before any message is delivered."""
    with pytest.raises(ConfigurationError, match="UnicodeDecodeError cannot be created from a message alone"):
        ReplayedHandler(print, HandlerSettings(outage=Outage(1, 1, "UnicodeDecodeError: x")))

"""A queue that reads its credentials again when they have expired."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, UnauthorizedSSOTokenError

from fanfold._base.record import Record
from fanfold.aws import renewing
from fanfold.aws.faults import error_from
from fanfold.aws.renewing import RenewingSqsQueue, open_renewing_queue
from fanfold.errors import ConfigurationError, ExpiredCredentialsError, ServiceError
from fanfold.testing import ManualClock, make_record
from worker_queue import until

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
EXPIRED = ClientError({"Error": {"Code": "ExpiredToken", "Message": "The security token is expired"}}, "ReceiveMessage")
DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ReceiveMessage")


class Sqs:
    """SQS with credentials that a test can let expire; records which clients are open."""

    def __init__(self) -> None:
        self.credentials = "first"
        """The credentials that a new session of the SDK reads."""
        self.refused: dict[str, Exception] = {}
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.release = asyncio.Event()
        self.release.set()

    @asynccontextmanager
    async def client(self, region: str | None = None) -> AsyncIterator[Any]:
        credentials = self.credentials
        self.opened.append(credentials)
        yield Client(self, credentials)
        self.closed.append(credentials)


class Client:
    """A client with the credentials of its session."""

    def __init__(self, sqs: Sqs, credentials: str) -> None:
        self._sqs = sqs
        self._credentials = credentials

    def __getattr__(self, operation: str) -> Any:
        async def call(**arguments: Any) -> dict[str, Any]:
            sqs = self._sqs
            sqs.calls.append((operation, self._credentials))
            if operation == "receive_message":
                await sqs.release.wait()
            await asyncio.sleep(0)
            if self._credentials in sqs.refused:
                raise sqs.refused[self._credentials]
            attributes = {"QueueArn": "arn:aws:sqs:eu-west-1:123456789012:orders", "VisibilityTimeout": "30"}
            return {
                "Attributes": attributes,
                "Successful": [{"Id": entry["Id"]} for entry in arguments.get("Entries", ())],
            }

        return call


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Sqs:
    sqs = Sqs()
    monkeypatch.setattr(renewing, "open_client", sqs.client)
    return sqs


@asynccontextmanager
async def opened(sqs: Sqs) -> AsyncIterator[tuple[RenewingSqsQueue, ManualClock]]:
    """Yield an open queue and its clock; all clients are closed at the end."""
    clock = ManualClock(100)
    async with open_renewing_queue(URL, dead_letter_queue_url=f"{URL}-dead") as queue:
        queue._clock = clock
        yield queue, clock
    assert sorted(sqs.closed) == sorted(sqs.opened)


def record() -> Record:
    return Record(make_record("body"))


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_expired_credentials_are_an_error_of_their_own(code: str):
    """For a command, it is still a configuration error with one clear line."""
    error = error_from(code, "The security token is expired", "queue q")
    assert isinstance(error, ExpiredCredentialsError)
    assert isinstance(error, ConfigurationError)
    assert (
        str(error) == f"queue q: the AWS credentials have expired; renew them ({code}: The security token is expired)"
    )


@pytest.mark.parametrize("error", [EXPIRED, NoCredentialsError(), UnauthorizedSSOTokenError()])
async def test_one_expiry_is_one_warning_and_every_call_goes_on(sqs: Sqs, caplog, error: Exception):
    """All operations use the new client, which a fresh session opened once."""
    async with opened(sqs) as (queue, _):
        sqs.credentials, sqs.refused = "second", {"first": error}
        await asyncio.gather(
            queue.receive_records(max_messages=1, wait_seconds=0),
            queue.delete(["handle"]),
            queue.change_visibility([(record(), 5)]),
            queue.send_dead_letters([(record(), "reason")]),
        )
        assert await queue.delete(["handle"]) == []
        assert sqs.opened == ["first", "second"]
        assert sqs.closed == ["first"]
    (warning,) = [line for line in caplog.records if line.levelno >= logging.WARNING]
    assert warning.message.endswith("reading the credentials again until they are valid")


async def test_credentials_that_stay_expired_are_a_transient_error_and_open_a_client_now_and_then(sqs: Sqs, caplog):
    """The callers retry with their backoff; one warning until they are valid again, and one for the next expiry."""
    async with opened(sqs) as (queue, clock):
        sqs.refused = {"first": EXPIRED, "second": EXPIRED}
        for _ in range(3):
            with pytest.raises(ServiceError, match="have expired") as raised:
                await queue.delete(["handle"])
            assert raised.value.transient
        assert sqs.opened == ["first", "first"]
        clock.advance(renewing.REOPEN_SECONDS)
        sqs.credentials = "second"
        with pytest.raises(ServiceError):
            await queue.delete(["handle"])
        clock.advance(renewing.REOPEN_SECONDS)
        sqs.credentials = "third"
        await queue.delete(["handle"])
        clock.advance(renewing.REOPEN_SECONDS)
        sqs.refused["third"], sqs.credentials = EXPIRED, "fourth"
        await queue.delete(["handle"])
        assert sqs.opened == ["first", "first", "second", "third", "fourth"]
    assert caplog.text.count("reading the credentials again") == 2


async def test_a_call_that_runs_on_the_previous_client_can_end(sqs: Sqs):
    """The client is closed after its last call."""
    async with opened(sqs) as (queue, _):
        sqs.release.clear()
        poll = asyncio.ensure_future(queue.receive_records(max_messages=1, wait_seconds=20))
        await until(lambda: ("receive_message", "first") in sqs.calls)
        sqs.credentials = "second"
        await queue.refresh()
        await queue.delete(["handle"])
        assert sqs.closed == []
        sqs.release.set()
        assert await poll == []
        assert sqs.closed == ["first"]


async def test_a_poll_that_began_before_the_expiry_does_not_end_it(sqs: Sqs, caplog):
    """Its success shows nothing about the credentials, so there is no second warning."""
    async with opened(sqs) as (queue, _):
        sqs.release.clear()
        poll = asyncio.ensure_future(queue.receive_records(max_messages=1, wait_seconds=20))
        await until(lambda: ("receive_message", "first") in sqs.calls)
        sqs.credentials, sqs.refused = "second", {"second": EXPIRED}
        await queue.refresh()
        for _ in range(2):
            with pytest.raises(ServiceError):
                await queue.delete(["handle"])
            sqs.release.set()
            await poll
    assert caplog.text.count("reading the credentials again") == 1


async def test_other_configuration_errors_are_raised(sqs: Sqs):
    """A new client would be refused, too; also if they occur after an expiry."""
    async with opened(sqs) as (queue, _):
        sqs.refused = {"first": DENIED}
        with pytest.raises(ConfigurationError, match="refuses the credentials or the permission"):
            await queue.delete(["handle"])
        sqs.refused, sqs.credentials = {"first": EXPIRED, "second": DENIED}, "second"
        with pytest.raises(ConfigurationError, match="refuses the credentials or the permission"):
            await queue.delete(["handle"])


async def test_credentials_that_have_expired_at_the_start_are_an_error(sqs: Sqs):
    """The command ends with one line; its client is closed."""
    sqs.refused = {"first": EXPIRED}
    with pytest.raises(ExpiredCredentialsError):
        async with open_renewing_queue(URL):
            pass
    assert sqs.closed == ["first"]

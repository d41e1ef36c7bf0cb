"""Frequent calls go past the SDK, and nobody can tell from their results, errors, retries and requests."""

import asyncio
import functools
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import wrapt
from aiobotocore.client import AioBaseClient
from aiobotocore.config import AioConfig
from aiobotocore.endpoint import AioEndpoint
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from aiobotocore.stub import AioStubber
from botocore.endpoint import Endpoint
from botocore.exceptions import BotoCoreError, ClientError

from fanfold.aws import fast_calls
from fanfold.aws.fast_calls import FastSession, call
from scripted_aws import Reply, ScriptedAws, scripted_aws

KEYS = {"aws_access_key_id": "first", "aws_secret_access_key": "secret", "region_name": "eu-west-1"}
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/work"
ENTRIES = [{"Id": "0", "MessageBody": "é"}]
SENT = {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "0"}]}
REFUSED = {"Failed": [{"Id": "0", "Code": "InternalError", "Message": "", "SenderFault": False}]}
THROTTLED = Reply({"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}, status=400)
BROKEN = Reply({"__type": "InternalFailure"}, status=500)
CLOSED = Reply(status=None)
DENIED = Reply({"__type": "com.amazon.coral.service#AccessDeniedException", "message": "no"}, status=400)
EXPIRED = Reply({"__type": "com.amazonaws.sqs#ExpiredToken", "message": "expired"}, status=403)
NOT_JSON = Reply(b"<html>")
NULL_PARTS = Reply({**SENT, "Failed": None})
ATTEMPTS = 3
SESSION = get_session()

Send = Callable[[Any], Awaitable[Any]]


@asynccontextmanager
async def client_at(
    url: str | None, service: str = "sqs", http: Any = FastSession, **settings: Any
) -> AsyncIterator[Any]:
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    config = AioConfig(**{"http_session_cls": http, "retries": retries} | settings)
    async with SESSION.create_client(service, endpoint_url=url, config=config, **KEYS) as client:
        yield client


@pytest.fixture
async def aws() -> AsyncIterator[ScriptedAws]:
    """A server that accepts every message, unless its script has another response."""
    async with scripted_aws(SENT) as server:
        yield server


@pytest.fixture
async def client(aws) -> AsyncIterator[Any]:
    """A client of that server, whose first call has been made."""
    async with client_at(aws.url) as opened:
        await send(opened)
        yield opened


@pytest.fixture(autouse=True)
def backoffs(monkeypatch) -> list[float]:
    """The seconds for which the SDK would have waited before its retries."""
    taken: list[float] = []

    async def remember(_: Any, seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(AioEndpoint, "_sleep", remember, raising=False)  # older releases wait
    return taken


async def send(client: Any) -> Any:
    return await call(client, "send_message_batch", URL, {"QueueUrl": URL, "Entries": ENTRIES})


async def send_through_sdk(client: Any) -> Any:
    return await client.send_message_batch(QueueUrl=URL, Entries=ENTRIES)


def is_the_sdks(response: Any) -> bool:
    """Return whether the SDK has parsed a response."""
    return "ResponseMetadata" in response


async def result_of(sending: Send, client: Any) -> Any:
    """Return what a caller sees: the response without its metadata, or the error."""
    try:
        response = await sending(client)
    except ClientError as error:
        return type(error).__name__, error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    except (BotoCoreError, AttributeError) as error:  # an AttributeError for a response that is a list
        return type(error).__name__
    return {name: value for name, value in response.items() if name != "ResponseMetadata"}


async def test_the_sdk_has_no_part_in_later_calls(client):
    """This test fails if a part of the SDK has moved that fast calls need: then, it keeps all calls."""
    assert await send(client) == SENT


async def test_later_requests_are_like_the_sdks(aws, client):
    """The headers, the address and the body are the same, the ID is new, and the signature is right."""
    await send(client)
    first, second = aws.requests
    assert second.fixed_headers == first.fixed_headers
    assert (second.path, second.body) == (first.path, first.body)
    assert second.headers["amz-sdk-invocation-id"] != first.headers["amz-sdk-invocation-id"]
    assert first.is_signed_by("secret")
    assert second.is_signed_by("secret")
    assert not second.is_signed_by("another")


@pytest.mark.parametrize("service", ["sqs", "dynamodb"])
async def test_clients_of_real_endpoints_can_be_left_out(service):
    """The SDK listens to other events of theirs than with a custom endpoint."""
    operation = "scan" if service == "dynamodb" else "send_message_batch"
    async with client_at(None, service) as client:
        assert fast_calls._is_unobserved(client, operation)


@pytest.mark.parametrize(
    "script",
    [
        [THROTTLED],
        [THROTTLED] * ATTEMPTS,
        [BROKEN, THROTTLED],
        [BROKEN] * ATTEMPTS,
        [CLOSED],
        [CLOSED] * ATTEMPTS,
        [CLOSED, DENIED],
        [DENIED],
        [EXPIRED],
        [NOT_JSON],
        [NULL_PARTS],
        [Reply(SENT, headers={"x-amz-crc32": "1"})],
        [Reply(REFUSED)],
        [Reply(b"[]")],
        [Reply(b"")],
    ],
    ids=str,
)
async def test_whatever_aws_responds_has_the_sdks_result_and_attempts(aws, client, backoffs, script):
    """The SDK takes an outcome that is not a plain success for its own first attempt."""
    seen = []
    async with client_at(aws.url) as plain:
        for sending, sender in ((send, client), (send_through_sdk, plain)):
            aws.script[:] = script
            aws.requests.clear()
            backoffs.clear()
            result = await result_of(sending, sender)
            seen.append((result, len(aws.requests), len(backoffs)))
            assert all(request.is_signed_by("secret") for request in aws.requests)
    assert seen[0] == seen[1]


async def test_a_page_with_a_wrong_checksum_is_read_again():
    """As the SDK does for DynamoDB, which sends a checksum with each response."""
    async with (
        scripted_aws({"Items": [{"k": {"B": "AAE="}}], "Count": 1}) as aws,
        client_at(aws.url, "dynamodb") as client,
    ):
        await call(client, "scan", "t", {"TableName": "t"})
        aws.script[:] = [Reply({"Items": []}, headers={"x-amz-crc32": "1"})]
        page = await call(client, "scan", "t", {"TableName": "t"})
    assert len(aws.requests) == 3
    assert page["Count"] == 1


async def test_binaries_are_sent_as_the_sdk_sends_them():
    """In base64."""
    item = {"k": {"B": b"\x00\x01"}, "s": {"BS": [bytearray(b"a"), b""]}}
    arguments = {"RequestItems": {"t": [{"PutRequest": {"Item": item}}]}}
    async with scripted_aws({}) as aws, client_at(aws.url, "dynamodb") as client:
        responses = [await call(client, "batch_write_item", "t", arguments) for _ in range(2)]
    assert [is_the_sdks(response) for response in responses] == [True, False]
    assert aws.requests[0].body == aws.requests[1].body


async def test_retries_use_the_sdks_quota_and_give_it_back_through_the_sdk(aws, client):
    """As many calls go through the SDK as the retries can have used units, so that it stops retrying when it would."""
    aws.script[:] = [BROKEN]
    await send(client)
    later = [is_the_sdks(await send(client)) for _ in range(16)]
    assert later == [True] * 14 + [False] * 2


async def test_renewed_credentials_sign_the_next_call(aws, client):
    """The SDK renews them; it also builds the next request, in case the address depends on the account."""
    keys = client._request_signer._credentials
    keys.access_key, keys.secret_key, keys.token = "second", "other", "session"  # type: ignore[misc]
    responses = [await send(client), await send(client)]
    assert [is_the_sdks(response) for response in responses] == [True, False]
    for request in aws.requests[1:]:
        assert "Credential=second/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "session"
        assert request.is_signed_by("other")


async def test_a_refused_signature_is_left_to_the_sdk(aws, client):
    """It signs and sends the request again, and keeps all later calls to this queue."""
    aws.script[:] = [Reply({"__type": "SignatureDoesNotMatch"}, status=403)]
    responses = [await send(client) for _ in range(20)]
    assert all(map(is_the_sdks, responses))
    assert len(aws.requests) == 22


async def test_each_resource_has_its_own_first_call(aws, client):
    """The address can depend on the queue or the table."""
    other = await call(client, "send_message_batch", URL + "2", {"QueueUrl": URL + "2", "Entries": ENTRIES})
    assert is_the_sdks(other)


async def test_a_first_call_that_fails_is_followed_by_another(aws):
    """Only a success without a retry shows how requests are made."""
    async with client_at(aws.url) as client:
        aws.script[:] = [DENIED]
        with pytest.raises(ClientError):
            await send(client)
        assert is_the_sdks(await send(client))
        assert not is_the_sdks(await send(client))


async def test_concurrent_first_calls_all_succeed(aws):
    """One of them shows how requests are made; the others go through the SDK."""
    async with client_at(aws.url) as client:
        responses = await asyncio.gather(*(send(client) for _ in range(5)))
        assert all(map(is_the_sdks, responses))
        assert not is_the_sdks(await send(client))


async def test_a_cancelled_call_is_cancelled(aws, client, monkeypatch):
    """The SDK does not take a cancellation for an outcome."""
    started = asyncio.Event()

    async def never(*_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(FastSession, "send", never)
    sending = asyncio.create_task(send(client))
    await started.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    monkeypatch.undo()
    assert len(aws.requests) == 1


@pytest.mark.parametrize(
    "event",
    ["before-call.sqs.SendMessageBatch", "before-send", "request-created.sqs", "after-call.sqs", "needs-retry.*.*"],
)
async def test_every_call_is_shown_to_whoever_listens_to_the_sdk(aws, event):
    """Tracing and metrics libraries register such functions."""
    heard = []
    async with client_at(aws.url) as client:
        client.meta.events.register(event, lambda **_: heard.append(event))
        assert all([is_the_sdks(await send(client)) for _ in range(3)])
    assert len(heard) == 3


async def test_the_name_of_powertools_is_in_every_request(aws):
    """Powertools adds it to the requests of all sessions once it is imported, which must not make the calls slow."""
    import aws_lambda_powertools  # noqa: F401

    config = AioConfig(http_session_cls=FastSession, retries={"mode": "standard"})
    async with get_session().create_client("sqs", endpoint_url=aws.url, config=config, **KEYS) as client:
        assert [is_the_sdks(await send(client)) for _ in range(2)] == [True, False]
    assert all("PT/" in request.headers["user-agent"] for request in aws.requests)


def traced_by_wrapt(wrapped: Any, calls: list[str]) -> Any:
    def traced(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        calls.append("traced")
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(wrapped, traced)


def traced_by_hand(wrapped: Any, calls: list[str]) -> Any:
    @functools.wraps(wrapped)
    def traced(*args: Any, **kwargs: Any) -> Any:
        calls.append("traced")
        return wrapped(*args, **kwargs)

    return traced


@pytest.mark.parametrize("tracing", [traced_by_wrapt, traced_by_hand])
@pytest.mark.parametrize(("owner", "method"), [(AioBaseClient, "_make_api_call"), (Endpoint, "prepare_request")])
async def test_every_call_is_shown_to_a_library_that_wraps_the_sdks_methods(aws, monkeypatch, owner, method, tracing):
    """The SDKs of X-Ray and Datadog wrap the first, and OpenTelemetry's instrumentation wraps both."""
    calls: list[str] = []
    monkeypatch.setattr(owner, method, tracing(owner.__dict__[method], calls))
    async with client_at(aws.url) as client:
        for _ in range(3):
            await send(client)
    assert calls == ["traced"] * 3


@pytest.mark.parametrize("part", ["of", "__init__"])
async def test_a_call_that_succeeded_does_not_fail_because_nothing_can_be_learned_from_it(aws, monkeypatch, part):
    """A later release of the SDK may build its requests in another way."""

    def changed(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(fast_calls.RequestTemplate, part, changed)
    async with client_at(aws.url) as client:
        assert all([is_the_sdks(await send(client)) for _ in range(3)])


async def test_every_call_goes_through_the_users_proxy(aws):
    """The SDK's HTTP session knows it."""
    async with client_at("http://sqs.example", proxies={"http": aws.url}) as client:
        assert [is_the_sdks(await send(client)) for _ in range(2)] == [True, False]
    assert [request.path for request in aws.requests] == ["http://sqs.example/"] * 2


@pytest.mark.parametrize(
    "settings",
    [{"http": AIOHTTPSession}, {"retries": {"mode": "adaptive"}}, {"retries": {"mode": "legacy"}}],
    ids=["session", "adaptive", "legacy"],
)
async def test_the_sdk_keeps_the_calls_of_other_kinds_of_clients(aws, settings):
    """Their HTTP session is not ours, or they count each call to limit the rate."""
    async with client_at(aws.url, **settings) as client:
        assert all([is_the_sdks(await send(client)) for _ in range(3)])


async def test_the_sdks_debug_log_has_every_call(aws, client, caplog):
    """Users turn it on to see the requests."""
    with caplog.at_level(logging.DEBUG, "botocore"):
        assert is_the_sdks(await send(client))
    assert not is_the_sdks(await send(client))


async def test_stubbed_clients_send_nothing(aws):
    """Users' tests stub clients by the SDK's own means."""
    async with client_at(aws.url) as client:
        with AioStubber(client) as stubber:
            for _ in range(2):
                stubber.add_response("send_message_batch", SENT | {"Failed": []})
                assert await send(client) == SENT | {"Failed": []}
    assert not aws.requests


async def test_a_closed_client_is_forgotten(aws):
    """The templates of its requests do not keep it in memory."""
    async with client_at(aws.url) as client:
        for _ in range(2):
            await send(client)
    closed = weakref.ref(client)
    del client
    gc.collect()
    assert closed() is None

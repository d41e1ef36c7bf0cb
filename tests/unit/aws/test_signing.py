"""Requests made from a template carry the signature that the SDK would give them."""

from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from fanfold.aws.signing import RequestTemplate, text_of, trace_header

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalr/K7+EX=", "region_name": "eu-west-1"}
TOKEN = {"aws_session_token": "IQoJb3JpZ2luX2VjE//////=="}
SEND = ("sqs", "send_message_batch", {"QueueUrl": "https://q/1/work", "Entries": [{"Id": "0", "MessageBody": "é"}]})
SCAN = ("dynamodb", "scan", {"TableName": "members"})
ENDPOINTS: list[dict[str, Any]] = [
    {},
    {"config": {"use_fips_endpoint": True}},
    {"config": {"use_dualstack_endpoint": True}},
    {"region_name": "cn-north-1"},
    {"aws_account_id": "123456789012"},
    {"endpoint_url": "https://proxy.example:443/path"},
    {"endpoint_url": "http://LOCALHOST:4566"},
]


SESSION = get_session()


class _NotSentError(Exception):
    pass


async def built_by_sdk(service: str, operation: str, arguments: dict[str, Any], **client: Any) -> AWSPreparedRequest:
    """Return the request that the SDK would send."""
    built: list[AWSPreparedRequest] = []

    class Recorder(AIOHTTPSession):
        async def send(self, request: AWSPreparedRequest) -> Any:
            built.append(request)
            raise _NotSentError

    config = AioConfig(http_session_cls=Recorder, retries={"total_max_attempts": 1}, **client.pop("config", {}))
    async with SESSION.create_client(service, config=config, **KEYS | client) as opened:
        with pytest.raises(_NotSentError):
            await getattr(opened, operation)(**arguments)
    return built[0]


def credentials(token: str | None = None) -> ReadOnlyCredentials:
    return ReadOnlyCredentials(KEYS["aws_access_key_id"], KEYS["aws_secret_access_key"], token)


def signed_by_botocore(request: AWSPreparedRequest, service: str, token: str | None) -> str:
    """Return the Authorization header that botocore gives a request."""
    names = ("x-amz-target", "content-type", "x-amzn-query-mode", "x-amz-date", "x-amz-security-token")
    headers = {name: value for name, value in request.headers.items() if name.lower() in names}
    copy = AWSRequest("POST", request.url, headers, request.body)
    copy.context["timestamp"] = request.headers["X-Amz-Date"]
    signer = SigV4Auth(credentials(token), service, KEYS["region_name"])
    signature = signer.signature(signer.string_to_sign(copy, signer.canonical_request(copy)), copy)
    signer._inject_signature_to_request(copy, signature)
    return str(copy.headers["Authorization"])


@pytest.mark.parametrize("token", [{}, TOKEN], ids=["a user's keys", "a role's session"])
@pytest.mark.parametrize("client", ENDPOINTS, ids=repr)
@pytest.mark.parametrize("call", [SEND, SCAN], ids=["sqs", "dynamodb"])
async def test_a_template_gives_the_sdks_request_the_sdks_signature(call, client, token):
    """At every kind of endpoint; otherwise, there would be no template."""
    request = await built_by_sdk(*call, **client, **token)
    assert RequestTemplate.of(request, credentials(token.get("aws_session_token"))) is not None


@pytest.mark.parametrize("call", [SEND, SCAN], ids=["sqs", "dynamodb"])
async def test_a_request_from_a_template_has_the_same_headers_in_the_same_spelling(call):
    """Only what belongs to one call differs."""
    request = await built_by_sdk(*call, **TOKEN)
    template = RequestTemplate.of(request, credentials(TOKEN["aws_session_token"]))
    assert template is not None
    second = template.request(request.body, "20300102T030405Z")
    headers = {name: text_of(value) for name, value in request.headers.items()}
    assert second.url == request.url
    assert {name for name in headers if headers[name] != second.headers[name]} == {
        "Authorization",
        "X-Amz-Date",
        "amz-sdk-invocation-id",
    }
    assert second.headers.keys() == headers.keys()


async def test_any_body_at_any_time_is_signed_as_botocore_signs_it():
    """Property-based: the signature covers the body and the date, and the key is renewed each day."""
    token = TOKEN["aws_session_token"]
    template = RequestTemplate.of(await built_by_sdk(*SEND, **TOKEN), credentials(token))
    assert template is not None

    @given(st.binary(), st.datetimes().map(lambda time: f"{time:%Y%m%dT%H%M%SZ}".rjust(16, "0")))
    def signs(body: bytes, timestamp: str) -> None:
        request = template.request(body, timestamp)
        assert request.headers["Authorization"] == signed_by_botocore(request, "sqs", token)

    signs()


@pytest.mark.parametrize(
    "changed",
    [
        {"headers": {"traceparent": "00-1"}},
        {"headers": {"amz-sdk-request": "attempt=2; max=3"}},
        {"headers": {"Authorization": "Bearer abc"}},
        {"method": "PUT"},
        {"url": "https://sqs.eu-west-1.amazonaws.com/?Action=SendMessageBatch"},
        {"url": "https://sqs.eu-west-2.amazonaws.com/"},
        {"body": b"{}"},
        {"stream_output": True},
        {"context": {"read_timeout": 90}},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_an_unknown_kind_of_request_has_no_template(changed):
    """For example, someone has added a header, or the signature is of another kind or does not match."""
    request = await built_by_sdk(*SEND)
    for name, value in changed.pop("headers", {}).items():
        request.headers[name] = value
    for name, value in changed.items():
        setattr(request, name, value)
    assert RequestTemplate.of(request, credentials()) is None


async def test_requests_of_a_lambda_function_name_its_present_trace(monkeypatch):
    """As those of the SDK do, so that AWS detects a function that calls itself."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "work")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-é")
    template = RequestTemplate.of(await built_by_sdk(*SEND), credentials())
    assert template is not None
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=2 b")
    assert template.request(b"{}", "20300102T030405Z").headers["X-Amzn-Trace-Id"] == "Root=2%20b"
    assert text_of((await built_by_sdk(*SEND)).headers["X-Amzn-Trace-Id"]) == trace_header()

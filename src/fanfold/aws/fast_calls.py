"""Frequent calls of AWS at two fifths of the SDK's processor time, with the SDK's results, errors and retries.

The SDK builds the first request of each kind, and the next ones are built like it (``RequestTemplate``), without the
SDK's events, endpoint rules, and parsing. They are sent through the SDK's HTTP session and signed with its credentials.
If the outcome is not a plain success, the SDK receives it as the outcome of its first attempt: it parses errors, backs
off, and retries as always.

The SDK keeps all calls if it cannot be left out unnoticed: its client was not opened with ``FastSession``, its debug
log is on, someone else listens to its events or has wrapped its methods, or the signature cannot be reproduced.
"""

from __future__ import annotations

import base64
import json
import logging
import time
import zlib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiobotocore.client import AioBaseClient
from aiobotocore.httpsession import AIOHTTPSession
from botocore.awsrequest import AWSPreparedRequest

from fanfold.aws.signing import RequestTemplate, text_of

_UNUSUAL: Final[Mapping[str, str]] = {
    "batch_get_item": "UnprocessedKeys",
    "batch_write_item": "UnprocessedItems",
    "change_message_visibility_batch": "Failed",
    "delete_message_batch": "Failed",
    "put_item": "",
    "query": "",
    "scan": "",
    "send_message_batch": "Failed",
    "update_item": "",
}
"""The frequent operations. The SDK parses a response that has this part."""
_EVENTS: Final = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "before-parse",
    "needs-retry",
    "after-call",
    "after-call-error",
)
_HARMLESS: Final = frozenset(
    {
        "aiobotocore.retries.standard",
        "aiobotocore.signers",
        "aws_lambda_powertools.shared.user_agent",  # adds the same text to every User-Agent, in every session
        "botocore.handlers",
        "botocore.retries.standard",
        "botocore.useragent",
        __name__,
    }
)
"""Modules whose event handlers do nothing in a call without a retry, except for headers that stay the same."""
_HARMLESS_IN_DISCOVERY: Final = "block_endpoint_discovery_required_operations"
_OK: Final = 200
_QUOTA_OF_A_RETRY: Final = 14
_QUOTA: Final = 500
"""The SDK's quota for retries: what a retry uses at most, and all; a call without a retry gives back 1."""
_SDK_LOGGER: Final = logging.getLogger("botocore")


@dataclass(slots=True)
class _Call:
    """A call through the SDK: an outcome for its first attempt, and the requests that it makes."""

    target: str = ""
    """The operation whose first attempt has an outcome already."""
    outcome: Any = None
    """A response or an exception, which the HTTP session gives to the SDK once, instead of sending the request."""
    requests: list[AWSPreparedRequest] = field(default_factory=list)
    session: FastSession | None = None
    signer: _Signer | None = None


@dataclass(frozen=True, slots=True)
class _Signer:
    """The SDK's signer of a client."""

    sdk: Any
    names: tuple[str, str]
    """The service and the region that it signs for."""

    async def credentials(self) -> Any:
        """Return the credentials, which the SDK renews if necessary; None if there are none."""
        auth = await self.sdk.get_auth_instance(*self.names, "v4")
        return auth.credentials


_CALL: Final[ContextVar[_Call | None]] = ContextVar("fanfold-aws-call", default=None)


class FastSession(AIOHTTPSession):  # type: ignore[misc] # no types
    """The SDK's HTTP session for clients with fast calls: ``AioConfig(http_session_cls=FastSession)``."""

    async def send(self, request: Any) -> Any:
        """Send a request of the SDK; show it to a call that learns from it."""
        call = _CALL.get()
        if call is not None:
            outcome, call.outcome = call.outcome, None
            if outcome is not None and call.target == text_of(request.headers.get("X-Amz-Target", "")):
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome
            call.requests.append(request)
            call.session = self
        return await super().send(request)


async def call(client: Any, operation: str, resource: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call an operation of a client as ``getattr(client, operation)(**arguments)`` does.

    The response of a frequent operation can lack ``ResponseMetadata``, and has binaries in base64.

    Args:
        client: An aiobotocore client.
        operation: The name of its method.
        resource: The name of the queue or table: calls with the same name go to the same address.
        arguments: The arguments of the method.

    Raises:
        Exception: What the method raises.
    """
    if operation not in _UNUSUAL or not isinstance(client, AioBaseClient):
        response: Mapping[str, Any] = await getattr(client, operation)(**arguments)
        return response
    if (calls := _CLIENTS.get(client)) is None:
        calls = _CLIENTS[client] = _FastCalls()
    return await calls.call(client, operation, resource, arguments)


@dataclass(frozen=True, slots=True)
class _Way:
    """How the requests of an operation reach a resource."""

    session: FastSession
    signer: _Signer
    template: RequestTemplate

    async def outcome(self, arguments: Mapping[str, Any]) -> Any:
        """Send a request; return the response or the exception."""
        request = self.template.request(_body(arguments), time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        try:
            return await self.session.send(request)
        except Exception as error:  # noqa: BLE001 - the SDK decides about it
            return error


class _FastCalls:
    """The frequent calls of one client. It must not refer to the client, which is the key of a weak dictionary."""

    def __init__(self) -> None:
        self._ways: dict[tuple[str, str], _Way | None] = {}
        """By operation and resource; None if the SDK keeps the calls."""
        self._used_quota = 0
        """As many calls go through the SDK, so that its quota for retries is refilled as always."""

    async def call(self, client: Any, operation: str, resource: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call an operation."""
        name = operation, resource
        way = self._ways.get(name)
        if self._used_quota:
            self._used_quota -= 1
        elif _SDK_LOGGER.isEnabledFor(logging.DEBUG):
            pass
        elif name not in self._ways or (way and await way.signer.credentials() != way.template.credentials):
            return await self._learn(client, name, arguments)
        elif way:
            return await self._fast(client, name, way, arguments)
        return await self._through_sdk(client, operation, arguments, _Call())

    async def _fast(
        self, client: Any, name: tuple[str, str], way: _Way, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        outcome = await way.outcome(arguments)
        call = _Call(way.template.target, outcome)
        if not isinstance(outcome, Exception):
            content = await outcome.content
            if outcome.status_code == _OK:
                response = _plain(name[0], outcome.headers, content)
                if response is not None:
                    return response
            elif b"Signature" in content or b"AuthenticationToken" in content:
                self._ways[name] = call.outcome = None  # a signature was refused that the SDK did not make
        return await self._through_sdk(client, name[0], arguments, call)

    async def _learn(self, client: Any, name: tuple[str, str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self._ways[name] = None
        if not _is_unobserved(client, name[0]):
            return await self._through_sdk(client, name[0], arguments, _Call())
        call = _Call()
        try:
            response = await self._through_sdk(client, name[0], arguments, call)
        finally:
            self._ways.pop(name, None)  # learn again after an error or a retry
        if len(call.requests) == 1:
            self._ways[name] = await _way(call, arguments)
        return response

    async def _through_sdk(
        self, client: Any, operation: str, arguments: Mapping[str, Any], call: _Call
    ) -> Mapping[str, Any]:
        first_attempts = 1 if call.outcome is None else 0
        token = _CALL.set(call)
        try:
            response: Mapping[str, Any] = await getattr(client, operation)(**arguments)
        finally:
            _CALL.reset(token)
            retries = max(0, len(call.requests) - first_attempts)
            self._used_quota = min(self._used_quota + retries * _QUOTA_OF_A_RETRY, _QUOTA)
        return response


_CLIENTS: Final[WeakKeyDictionary[Any, _FastCalls]] = WeakKeyDictionary()


async def _way(call: _Call, arguments: Mapping[str, Any]) -> _Way | None:
    """Return the way of a call's request; None if the next one might differ in more than the arguments."""
    (request,) = call.requests
    if call.session is None or call.signer is None:
        return None
    try:
        if json.loads(request.body) != json.loads(_body(arguments)):
            return None
        template = RequestTemplate.of(request, await call.signer.credentials())
    except Exception:  # noqa: BLE001 - the SDK has changed; the call has succeeded
        return None
    return None if template is None else _Way(call.session, call.signer, template)


def _is_unobserved(client: Any, operation: str) -> bool:
    """Return whether only the SDK has a part in an operation, and let it show its signer."""
    try:
        endpoint = client._endpoint  # noqa: SLF001
        methods = (
            getattr(client, operation),
            client._make_api_call,  # noqa: SLF001
            endpoint.make_request,
            endpoint.create_request,
            endpoint.prepare_request,
        )
        service = client.meta.service_model.service_id.hyphenize()
        api_name = client.meta.method_to_api_mapping[operation]
        client.meta.events.register(f"before-sign.{service}", _show_signer, unique_id="fanfold-signer")
        find = client.meta.events._emitter._handlers.prefix_search  # noqa: SLF001
        handlers = [handler for event in _EVENTS for handler in find(f"{event}.{service}.{api_name}")]
        is_standard = client.meta.config.retries["mode"] == "standard"
    except Exception:  # noqa: BLE001 - the SDK has changed; it keeps the calls
        return False
    return is_standard and all(map(_is_sdks_method, methods)) and all(map(_is_harmless, handlers))


def _show_signer(request_signer: Any, signing_name: str = "", region_name: str = "", **_: Any) -> None:
    if call := _CALL.get():
        call.signer = _Signer(request_signer, (signing_name, region_name))


def _is_sdks_method(method: Any) -> bool:
    if type(method) is not MethodType or type(method.__func__) is not FunctionType:  # wrappers claim to be instances
        return False
    module: str = method.__func__.__globals__["__name__"]
    return module.partition(".")[0] in {"aiobotocore", "botocore"}


def _is_harmless(handler: Any) -> bool:
    module = getattr(handler, "__module__", "")
    if module == "botocore.discovery":
        return bool(handler.__name__ == _HARMLESS_IN_DISCOVERY)
    return module in _HARMLESS


def _body(arguments: Mapping[str, Any]) -> bytes:
    return json.dumps(arguments, default=_base64_of).encode()


def _base64_of(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode()


def _plain(operation: str, headers: Mapping[str, str], content: bytes) -> Mapping[str, Any] | None:
    """Return the response if it is complete and nothing in it needs the SDK's parser; None otherwise."""
    checksum = headers.get("x-amz-crc32")
    try:
        if checksum is not None and int(checksum) != zlib.crc32(content):
            return None
        response = json.loads(content.decode())
    except ValueError:
        return None
    if not isinstance(response, dict) or response.get(_UNUSUAL[operation]):
        return None
    return {name: value for name, value in response.items() if value is not None}

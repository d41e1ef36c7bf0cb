"""Requests that are signed like an earlier one of the SDK: AWS Signature Version 4 over an unchanged set of headers."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import uuid
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from botocore.awsrequest import AWSPreparedRequest

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^,/]+)/(?P<date>\d{8})/(?P<scope>[^,/]+/[^,/]+/aws4_request), "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=[0-9a-f]{64}"
)
_FIXED: Final = frozenset(
    {"amz-sdk-request", "content-type", "user-agent", "x-amz-security-token", "x-amz-target", "x-amzn-query-mode"}
)
_PER_CALL: Final = frozenset({"amz-sdk-invocation-id", "authorization", "content-length", "x-amz-date"})
_TRACE: Final = "X-Amzn-Trace-Id"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class RequestTemplate:
    """Everything in a request of the SDK that stays the same for the next one: address, headers, signer's scope.

    A template belongs to one pair of credentials; the SDK builds the first request after they have changed.
    """

    def __init__(self, url: str, headers: dict[str, str], credentials: Any, scope: str, signed: str) -> None:
        self.credentials = credentials
        """The frozen credentials of the SDK that sign."""
        self.target = headers["X-Amz-Target"]
        """The header that names the operation."""
        self._url = url
        self._headers = headers
        self._scope = scope
        self._signed = signed
        parts = urlsplit(url)
        host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
        values = {name.lower(): value for name, value in headers.items()} | {"host": host}
        before, _, after = signed.partition("x-amz-date")
        self._before, self._after = (
            "".join(f"{name}:{' '.join(values[name].split())}\n" for name in names.split(";") if name)
            for names in (before, after)
        )
        self._path = parts.path or "/"
        self._key_date, self._key = "", b""

    @classmethod
    def of(cls, request: AWSPreparedRequest, credentials: Any) -> Self | None:
        """Return the template of a request; None if it has a part that is not known to stay the same.

        The template is proven first: it must give that request the signature that the SDK gave it.
        """
        headers = {name: text_of(value) for name, value in request.headers.items()}
        values = {name.lower(): value for name, value in headers.items()}
        trace = values.pop(_TRACE.lower(), None)
        match = _AUTHORIZATION.fullmatch(values.get("authorization", ""))
        if (
            match is None
            or request.method != "POST"
            or request.stream_output
            or urlsplit(request.url).query
            or not isinstance(request.body, bytes)
            or (getattr(request, "context", None) or {}).get("read_timeout") is not None
            or not _PER_CALL <= values.keys() <= _PER_CALL | _FIXED
            or not {"x-amz-date", *match["signed"].split(";")} <= values.keys() | {"host"}
            or values["amz-sdk-request"].partition(";")[0] != "attempt=1"
            or trace != trace_header()
        ):
            return None
        fixed = {name: value for name, value in headers.items() if name.lower() in _FIXED}
        template = cls(request.url, fixed, credentials, match["scope"], match["signed"])
        repeated = template.request(request.body, values["x-amz-date"])
        return template if repeated.headers["Authorization"] == values["authorization"] else None

    def request(self, body: bytes, timestamp: str) -> AWSPreparedRequest:
        """Return a signed request; the timestamp is like ``20261129T110000Z``."""
        headers = self._headers | {
            "X-Amz-Date": timestamp,
            "Authorization": self._authorization(body, timestamp),
            "amz-sdk-invocation-id": str(uuid.uuid4()),
            "Content-Length": str(len(body)),
        }
        if trace := trace_header():
            headers[_TRACE] = trace
        return AWSPreparedRequest("POST", self._url, headers, body, stream_output=False)

    def _authorization(self, body: bytes, timestamp: str) -> str:
        date = timestamp[:8]
        digest = hashlib.sha256(body).hexdigest()
        signed_headers = f"{self._before}x-amz-date:{timestamp}\n{self._after}"
        canonical = f"POST\n{self._path}\n\n{signed_headers}\n{self._signed}\n{digest}"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{timestamp}\n{date}/{self._scope}\n{hashed}"
        if date != self._key_date:
            self._key_date, self._key = date, self._key_of(date)
        signature = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        return (
            f"AWS4-HMAC-SHA256 Credential={self.credentials.access_key}/{date}/{self._scope}, "
            f"SignedHeaders={self._signed}, Signature={signature}"
        )

    def _key_of(self, date: str) -> bytes:
        key = f"AWS4{self.credentials.secret_key}".encode()
        for part in (date, *self._scope.split("/")):
            key = hmac.digest(key, part.encode(), "sha256")
        return key


def text_of(value: str | bytes) -> str:
    """Return the text of a header, which the SDK has as text or as bytes."""
    return value if isinstance(value, str) else value.decode()


def trace_header() -> str | None:
    """Return the trace that the SDK names in requests of a Lambda function, which differs in each invocation."""
    trace = os.environ.get("_X_AMZN_TRACE_ID")
    return quote(trace, safe="-=;:+&[]{}\"',") if trace and "AWS_LAMBDA_FUNCTION_NAME" in os.environ else None

"""The page of a run on 127.0.0.1: it is read when a browser requests it, and refreshes while it is visible."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import quote

from fanfold._report.page import RunPage, main_part, page
from fanfold.errors import ConfigurationError, FanfoldError

HOST: Final = "127.0.0.1"
LEAST_SECONDS: Final = 2.0
"""Least time between two reads of the ledger."""
READ_SHARE: Final = 10
"""A read that takes a second is repeated after ten at the earliest."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    """Its status code."""
    body: str
    """Its body."""
    content_type: str = "text/plain; charset=utf-8"
    """Media type of the body."""
    headers: Mapping[str, str] | None = None
    """More headers."""


class LivePage:
    """The page of a run, read on request, and not more often than it takes.

    Args:
        read: Reads the run. It raises ``FanfoldError`` if it cannot.
        clock: Returns seconds that never decrease.
    """

    def __init__(self, read: Callable[[], RunPage], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: RunPage | None = None
        self._wait = LEAST_SECONDS
        self._read_at = 0.0

    def respond(self, path: str, host: str, port: int) -> Response:
        """Return the response to a request.

        A request whose Host header names another host is refused: a page of another site could have sent it.
        """
        if host not in {f"{HOST}:{port}", f"localhost:{port}"}:
            return Response(403, f"use http://{HOST}:{port}/")
        if path not in {"/", "/main"}:
            return Response(404, f"there is no page {path[:80]}; use http://{HOST}:{port}/")
        try:
            source = self._source()
        except FanfoldError as error:
            return Response(503, str(error))
        next_ms = 0 if source.run.ended else round(self._wait * 1000)
        html = "text/html; charset=utf-8"
        if path == "/":
            return Response(200, page(source, next_ms=next_ms), html)
        return Response(200, main_part(source), html, _refresh_headers(source, next_ms))

    def _source(self) -> RunPage:
        with self._lock:
            if self._latest is None or self._clock() >= self._read_at + self._wait:
                began = self._clock()
                self._latest = self._read()
                self._read_at = self._clock()
                self._wait = max(LEAST_SECONDS, READ_SHARE * (self._read_at - began))
            return self._latest


def _refresh_headers(source: RunPage, next_ms: int) -> Mapping[str, str]:
    end = "" if next_ms else " The run has ended; this page no longer refreshes."
    return {
        "Fanfold-Next-Ms": str(next_ms),
        "Fanfold-Line": quote(f"{source.run.state} {source.verdict}{end}"),
        "Fanfold-Title": quote(f"{source.run.state}: {source.title}"),
    }


def open_server(live: LivePage, port: int) -> ThreadingHTTPServer:
    """Return a server of the page that is listening; ``serve_forever`` responds to requests.

    Args:
        live: The page.
        port: Port of 127.0.0.1; 0 for a free one.

    Raises:
        ConfigurationError: If the port is not available.
    """
    try:
        return ThreadingHTTPServer((HOST, port), _handler(live))
    except OSError as error:
        raise ConfigurationError(
            f"--port {port} is not available: {error.strerror}. Without --port, a free one is chosen"
        ) from error


def _handler(live: LivePage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            port = self.connection.getsockname()[1]
            response = live.respond(self.path, self.headers.get("Host", ""), int(port))
            body = response.body.encode()
            self.send_response(response.status)
            headers = {"Content-Type": response.content_type, "Content-Length": str(len(body)), **_HEADERS}
            for name, value in {**headers, **(response.headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in the base class
            """Print nothing."""

    return Handler

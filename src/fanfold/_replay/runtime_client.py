"""A Lambda function on this machine under Lambda's own runtime client, with a local Runtime API server.

Lambda runs handlers under ``awslambdaric``. Running it here shows that the import of a handler, its responses, and its
errors pass through it. (Source: Lambda developer guide, "Using the Lambda runtime API".)
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any, ClassVar, Self

from fanfold._base import operating_system
from fanfold._replay.function import (
    AS_ON_LAMBDA,
    HandlerError,
    InvocationResult,
    exit_status_of,
    memory_mb_of,
    output_descriptor,
    peak_mb_of,
)
from fanfold._replay.mapping import Errored, Returned
from fanfold.errors import ConfigurationError

_ARN = "arn:aws:lambda:eu-west-1:123456789012:function:replayed"
_POLL_SECONDS = 0.01


class _Api(ThreadingHTTPServer):
    daemon_threads = True
    events: queue.SimpleQueue[tuple[dict[str, str], bytes] | None]
    replies: queue.SimpleQueue[tuple[str, str]]


class _Requests(BaseHTTPRequestHandler):
    server: _Api

    def do_GET(self) -> None:
        request = self.server.events.get()
        if request is not None:
            self._send(200, *request)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("utf-8", "replace")
        self._send(202, {}, b'{"status":"OK"}')
        self.server.replies.put((self.path.rsplit("/", 1)[-1] if "init" not in self.path else "init", text))

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class RuntimeClientFunction:
    """A handler under ``awslambdaric``, with the same timeout and memory limit as a ``LocalFunction``.

    Raises:
        ConfigurationError: If the runtime client is not installed.
    """

    is_consumer: ClassVar[bool] = False
    """Always false: the runtime client does not report single records."""

    def __init__(self, handler: str, *, timeout_seconds: float, memory_mb: int, environment: Mapping[str, str]) -> None:
        if find_spec("awslambdaric") is None:
            raise ConfigurationError(
                "--runtime-client requires Lambda's runtime client. Install it: pip install awslambdaric"
            )
        self.handler = handler
        """``MODULE:NAME``."""
        self._timeout = timeout_seconds
        self._memory_mb = memory_mb
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._api: _Api | None = None
        self._invocations = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def invoke(self, event: Mapping[str, Any]) -> InvocationResult:
        """Invoke the handler with an event, until it returns or reaches a limit.

        Raises:
            HandlerError: If the handler's module cannot be imported.
        """
        api, process = self._started()
        self._invocations += 1
        deadline = time.time() + self._timeout
        headers = {
            "Lambda-Runtime-Aws-Request-Id": f"00000000-0000-4000-8000-{self._invocations:012d}",
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": _ARN,
        }
        api.events.put((headers, json.dumps(event).encode()))
        began = time.monotonic()
        kind, text = self._wait_for_reply(api, process, began + self._timeout)
        peak, seconds = peak_mb_of(process.pid), time.monotonic() - began
        if kind == "response":
            return InvocationResult(Returned(text), {}, seconds, peak)
        if kind == "init":
            self.close()
            raise HandlerError(f"importing {self.handler} failed: {_error_in(text)}", "")
        if kind != "error":
            self.close()
        return InvocationResult(Errored(kind, _error_in(text) if kind == "error" else text), {}, seconds, peak)

    def close(self) -> None:
        """Kill the process and stop its Runtime API server."""
        process, api = self._process, self._api
        self._process = self._api = None
        if process is not None:
            operating_system.end(process)
        if api is not None:
            api.events.put(None)
            api.shutdown()
            api.server_close()

    def _started(self) -> tuple[_Api, subprocess.Popen[bytes]]:
        if self._api is not None and self._process is not None:
            return self._api, self._process
        self._api = api = _Api(("127.0.0.1", 0), _Requests)
        api.events, api.replies = queue.SimpleQueue(), queue.SimpleQueue()
        threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        variables = {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": "replayed",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": "Text",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/replayed",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}",
            **AS_ON_LAMBDA,
        }
        self._process = subprocess.Popen(  # noqa: S603 - the runtime client
            [sys.executable, "-m", "awslambdaric", self.handler.replace(":", ".")],
            stdin=subprocess.DEVNULL,
            stdout=output_descriptor(),
            env={**os.environ, **self._environment, **variables},
            **operating_system.in_own_group(),
        )
        return api, self._process

    def _wait_for_reply(self, api: _Api, process: subprocess.Popen[bytes], until: float) -> tuple[str, str]:
        """Return the kind and the text of the client's reply, or of the limit that was reached."""
        while True:
            try:
                return api.replies.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pass
            if process.poll() is not None:
                return "killed", f"Runtime exited {exit_status_of(process)}"
            if time.monotonic() >= until:
                return "timeout", f"Task timed out after {self._timeout:.2f} seconds"
            used = memory_mb_of(process.pid)
            if used is not None and used > self._memory_mb:
                return "killed", f"out of memory: {used:.0f} MB of {self._memory_mb} MB"


def _error_in(text: str) -> str:
    """Return ``Type: message`` from the error document of the runtime client."""
    try:
        error = json.loads(text)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, KeyError, TypeError):
        return text

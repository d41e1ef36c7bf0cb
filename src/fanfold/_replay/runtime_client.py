"""A Lambda function on this machine under Lambda's own runtime client, with a local Runtime API server.

Lambda runs handlers under ``awslambdaric``. Running it here shows that the import of a handler, its responses, and its
errors pass through it. (Source: Lambda developer guide, "Using the Lambda runtime API".)
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from fanfold._base import operating_system
from fanfold._replay.function import (
    AS_ON_LAMBDA,
    HandlerError,
    InvocationResult,
    exit_status_of,
    memory_mb_of,
    output_descriptor,
    peak_mb_of,
    request_id,
    returned,
)
from fanfold._replay.handler_settings import HANDLER_VARIABLE, NOW
from fanfold._replay.mapping import Errored
from fanfold.errors import ConfigurationError

_ARN: Final = "arn:aws:lambda:eu-west-1:123456789012:function:replayed"
_POLL_SECONDS: Final = 0.01
_STARTUP_SECONDS: Final = 60.0


class _Started:
    """An invocation that has started: it waits for a process, runs, or has ended."""

    def __init__(self, number: int, event: bytes, now: float) -> None:
        self.request_id = request_id(number)
        self.event = event
        self.client_context = json.dumps({"custom": {NOW: now}})
        self.taken_at: float | None = None
        """When a process took it, on the monotonic clock; None while it waits."""
        self.replies: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        """Receives the kind and the text of the client's reply."""


class _Api(ThreadingHTTPServer):
    """The Runtime API of one process of the runtime client, and of those that it forks."""

    daemon_threads = True
    request_queue_size = 128  # with the default of 5, some of many processes cannot connect in time

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.timeout_seconds = timeout_seconds
        self.waiting: queue.SimpleQueue[_Started | None] = queue.SimpleQueue()
        """Invocations for the next idle process; None ends its connection."""
        self.taken: dict[str, _Started] = {}
        """Invocations that a process has taken, by request id."""
        self.abandoned: set[str] = set()
        """Request ids of invocations that have timed out, and whose processes are still busy."""
        self.init_errors: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Errors of the import of the handler's module."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self, processes: int) -> None:
        for _ in range(processes):
            self.waiting.put(None)
        self.shutdown()
        self.server_close()


class _Requests(BaseHTTPRequestHandler):
    server: _Api

    def do_GET(self) -> None:
        started = self.server.waiting.get()
        if started is None:
            return
        started.taken_at = time.monotonic()
        self.server.taken[started.request_id] = started
        headers = {
            "Lambda-Runtime-Aws-Request-Id": started.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self.server.timeout_seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": _ARN,
            "Lambda-Runtime-Client-Context": started.client_context,
        }
        self._send(200, headers, started.event)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("utf-8", "replace")
        self._send(202, {}, b'{"status":"OK"}')
        *_, invocation, kind = self.path.split("/")
        if invocation == "init":
            self.server.init_errors.put(text)
        elif (started := self.server.taken.pop(invocation, None)) is not None:
            started.replies.put((kind, text))
        else:
            self.server.abandoned.discard(invocation)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Environment:
    """An execution environment."""

    api: _Api
    process: subprocess.Popen[bytes]
    """The runtime client; with concurrent invocations, the parent of their processes."""


class RuntimeClientFunction:
    """A handler under ``awslambdaric``, with the same timeout and memory limit as a ``LocalFunction``.

    With a concurrency above 1, the client runs as on Lambda Managed Instances: it forks a process for each concurrent
    invocation. They share the memory limit. There, a timeout ends no process: the invocation fails, and its process is
    busy until its handler returns. If all processes are, a new execution environment replaces them.

    Args:
        handler: ``MODULE:NAME``, imported from the current folder.
        timeout_seconds: Timeout of an invocation.
        memory_mb: Memory limit of all processes together, MB.
        environment: Variables in addition to those of this process.
        concurrency: Maximum number of concurrent invocations.

    Raises:
        ConfigurationError: If the runtime client is not installed, or cannot run concurrent invocations.
    """

    is_consumer: ClassVar[bool] = False
    """Always false: the runtime client does not report single records."""

    def __init__(
        self,
        handler: str,
        *,
        timeout_seconds: float,
        memory_mb: int,
        environment: Mapping[str, str],
        concurrency: int = 1,
    ) -> None:
        _check_installed(concurrency)
        self.handler = handler
        """``MODULE:NAME``."""
        self._timeout = timeout_seconds
        self._memory_mb = memory_mb
        self._environment = environment
        self._concurrency = concurrency
        self._environment_in_use: _Environment | None = None
        self._invocations = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def invoke(self, event: Mapping[str, Any], now: float = 0.0) -> InvocationResult:
        """Invoke the handler with an event, until it returns or reaches a limit; see ``start``.

        Raises:
            HandlerError: If the handler's module cannot be imported.
        """
        return self.start(event, now)()

    def start(self, event: Mapping[str, Any], now: float = 0.0) -> Callable[[], InvocationResult]:
        """Start an invocation; return a function that waits for its result.

        Args:
            event: The event.
            now: Simulated seconds since the start of the replay.

        Raises:
            HandlerError: By the returned function, if the handler's module cannot be imported.
        """
        environment = self._started()
        self._invocations += 1
        started = _Started(self._invocations, json.dumps(event).encode(), now)
        environment.api.waiting.put(started)
        return lambda: self._result(started, environment)

    def close(self) -> None:
        """Kill the processes and stop their Runtime API server."""
        if self._environment_in_use is not None:
            self._end(self._environment_in_use)

    def _end(self, environment: _Environment) -> None:
        """End an execution environment. It may have been replaced already."""
        if environment is self._environment_in_use:
            self._environment_in_use = None
            operating_system.end(environment.process)
            environment.api.close(self._concurrency)

    def _result(self, started: _Started, environment: _Environment) -> InvocationResult:
        kind, text = self._wait_for_reply(started, environment)
        if kind == "killed" and started.taken_at is None and self._concurrency > 1:
            self._end(environment)  # another invocation has ended it: this one runs in the next
            environment = self._started()
            environment.api.waiting.put(started)
            kind, text = self._wait_for_reply(started, environment)
        peaks = [peak for pid in _pids(environment.process.pid) if (peak := peak_mb_of(pid)) is not None]
        seconds = 0.0 if started.taken_at is None else time.monotonic() - started.taken_at
        peak = round(sum(peaks), 1) if peaks else None
        if kind == "response":
            return InvocationResult(returned(text), {}, seconds, peak)
        if kind == "error":
            return InvocationResult(Errored(kind, _error_in(text)), {}, seconds, peak)
        if kind == "init":
            self._end(environment)
            raise HandlerError(f"importing {self.handler} failed: {_error_in(text)}", "")
        if kind == "killed" or len(environment.api.abandoned) >= self._concurrency:
            self._end(environment)
        return InvocationResult(Errored(kind, text), {}, seconds, peak)

    def _started(self) -> _Environment:
        """Return the execution environment; start one if there is none."""
        if self._environment_in_use is not None:
            return self._environment_in_use
        api = _Api(self._timeout)
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
            HANDLER_VARIABLE: self.handler,
            **({"AWS_LAMBDA_MAX_CONCURRENCY": str(self._concurrency)} if self._concurrency > 1 else {}),
            **AS_ON_LAMBDA,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "fanfold._replay.client_handler.handler"],
            stdin=subprocess.DEVNULL,
            stdout=output_descriptor(),
            env={**os.environ, **self._environment, **variables},
            **operating_system.in_own_group(),
        )
        self._environment_in_use = _Environment(api, process)
        return self._environment_in_use

    def _wait_for_reply(self, started: _Started, environment: _Environment) -> tuple[str, str]:
        """Return the kind and the text of the client's reply, or of the limit that was reached."""
        api, process = environment.api, environment.process
        submitted_at = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return started.replies.get(timeout=_POLL_SECONDS)
            with contextlib.suppress(queue.Empty):
                return "init", api.init_errors.get_nowait()
            if process.poll() is not None:
                return "killed", f"Runtime exited {exit_status_of(process)}"
            # One that no process takes waits for an execution environment: at most as long as one that hangs.
            if time.monotonic() >= (started.taken_at or submitted_at + _STARTUP_SECONDS) + self._timeout:
                api.abandoned.add(started.request_id)
                api.taken.pop(started.request_id, None)
                return "timeout", f"Task timed out after {self._timeout:.2f} seconds"
            used = [memory for pid in _pids(process.pid) if (memory := memory_mb_of(pid)) is not None]
            if sum(used) > self._memory_mb:
                operating_system.end(process)
                return "killed", f"out of memory: {sum(used):.0f} MB of {self._memory_mb} MB"


def _check_installed(concurrency: int) -> None:
    """Check that the runtime client is installed, and that it supports this concurrency.

    Raises:
        ConfigurationError: If not.
    """
    if find_spec("awslambdaric") is None:
        raise ConfigurationError(
            "--runtime-client requires Lambda's runtime client. Install it: pip install awslambdaric"
        )
    if concurrency > 1 and find_spec("awslambdaric.lambda_multi_concurrent_utils") is None:
        raise ConfigurationError(
            "--concurrent-invocations requires awslambdaric 4 or later. Install it: pip install -U awslambdaric"
        )


def _pids(pid: int) -> list[int]:
    """Return the id of a process, and those of its child processes if the system lists them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return [pid]
    return [pid, *map(int, children.split())]


def _error_in(text: str) -> str:
    """Return ``Type: message`` from the error document of the runtime client."""
    try:
        error = json.loads(text)
        return f"{error['errorType']}: {error['errorMessage']}"
    except (ValueError, KeyError, TypeError):
        return text

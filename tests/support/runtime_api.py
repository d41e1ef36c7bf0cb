"""Lambda's Runtime API on a local port, and a function with the real runtime client.

The function is one process, as on ordinary Lambda, or several, as on Lambda Managed Instances.
"""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from fanfold._base.operating_system import end, in_own_group
from fanfold.testing import make_event

VERSION = "/2018-06-01/runtime"
FUNCTION_ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders"
RESPONSE_SECONDS = 60.0
"""Time that a test waits for a response of the process."""


@dataclass(frozen=True)
class Invocation:
    """The next invocation of the function."""

    request_id: str
    event: Any
    seconds: float
    """Time until its timeout, from the moment at which a process takes it."""


@dataclass(frozen=True)
class Response:
    """A response of the function to an invocation or to its start."""

    kind: str
    """``response``, ``error``, ``init error`` or ``exit``."""
    request_id: str = ""
    value: Any = None
    """The decoded response; for ``exit``, the exit code of the process."""
    seconds_left: float = 0.0
    """Remaining time of the invocation when the response arrived."""

    @property
    def failed_ids(self) -> list[str]:
        """The message IDs in a partial batch response."""
        assert self.kind == "response", self
        return [failure["itemIdentifier"] for failure in self.value["batchItemFailures"]]


class RuntimeApi(ThreadingHTTPServer):
    """The Runtime API of one execution environment: returns invocations, and receives responses."""

    daemon_threads = True
    request_queue_size = 128  # with 5, the runtime client of one of many processes gives up connecting after a second

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.invocations: SimpleQueue[Invocation | None] = SimpleQueue()
        self.responses: SimpleQueue[Response] = SimpleQueue()
        self.deadlines: dict[str, float] = {}
        """Deadlines of the invocations without a response, in seconds since the epoch, by request ID."""

    @property
    def address(self) -> str:
        """Host and port, as in ``AWS_LAMBDA_RUNTIME_API``."""
        return f"127.0.0.1:{self.server_port}"


class _Requests(BaseHTTPRequestHandler):
    server: RuntimeApi

    def do_GET(self) -> None:
        assert self.path == f"{VERSION}/invocation/next"
        invocation = self.server.invocations.get()
        if invocation is None:
            return  # the server is shutting down
        deadline = self.server.deadlines[invocation.request_id] = time.time() + invocation.seconds
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
        }
        self._send(200, headers, json.dumps(invocation.event).encode())

    def do_POST(self) -> None:
        arrived_at = time.time()
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(202, {"Content-Type": "application/json"}, b'{"status":"OK"}')
        if self.path == f"{VERSION}/init/error":
            self.server.responses.put(Response("init error", value=value))
            return
        request_id, kind = self.path.removeprefix(f"{VERSION}/invocation/").split("/")
        seconds_left = self.server.deadlines.pop(request_id) - arrived_at
        self.server.responses.put(Response(kind, request_id, value, seconds_left))

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class Function:
    """A function in one execution environment: separate processes with the real runtime client."""

    def __init__(self, api: RuntimeApi, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._api = api
        self._log = log
        self._invocations = 0

    @property
    def log(self) -> str:
        """Output of the process so far."""
        return self._log.read_text(encoding="utf-8")

    def invoke(self, *bodies: Any, seconds: float = 30.0) -> Response:
        """Invoke the function with a batch of these bodies, and return its response."""
        return self.invoke_with(make_event(*bodies), seconds=seconds)

    def invoke_with(self, event: Any, *, seconds: float = 30.0) -> Response:
        """Invoke the function with an event, and return its response."""
        request_id = self.start(event, seconds=seconds)
        response = self.next_response()
        assert response.kind not in {"response", "error"} or response.request_id == request_id
        return response

    def invoke_concurrently(self, *events: Any, seconds: float = 30.0) -> list[Response]:
        """Invoke the function with several events concurrently, and return the responses in the order of the events."""
        request_ids = [self.start(event, seconds=seconds) for event in events]
        responses = {response.request_id: response for response in (self.next_response() for _ in request_ids)}
        assert responses.keys() == set(request_ids), responses
        return [responses[request_id] for request_id in request_ids]

    def start(self, event: Any, *, seconds: float = 30.0) -> str:
        """Start an invocation, which the next idle process takes, and return its request ID."""
        self._invocations += 1
        request_id = f"00000000-0000-4000-8000-{self._invocations:012}"
        self._api.invocations.put(Invocation(request_id, event, seconds))
        return request_id

    def next_response(self) -> Response:
        """Return the next response of the process."""
        return self._api.responses.get(timeout=RESPONSE_SECONDS)

    def process_ids(self) -> list[int]:
        """Return the IDs of the processes that the runtime client forked, one for each concurrent invocation."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(process_id) for process_id in children.read_text(encoding="ascii").split()]


@contextmanager
def function(folder: Path, source: str, *, command: Sequence[str] = (), **variables: str) -> Iterator[Function]:
    """Start a function with the handler ``app.handler``, from the source of the module ``app``.

    ``command`` is a program with arguments that runs the interpreter, in the same process.
    With the variable ``AWS_LAMBDA_MAX_CONCURRENCY``, the runtime client forks as many processes.
    """
    (folder / "app.py").write_text(textwrap.dedent(source), encoding="utf-8")
    log = folder / "log"
    with RuntimeApi() as api:
        server = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        server.start()
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - the interpreter, perhaps restricted
                [*command, sys.executable, "-m", "awslambdaric", "app.handler"],
                cwd=folder,
                env={**_environment(api), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **in_own_group(),
            )
        watcher = threading.Thread(
            target=lambda: api.responses.put(Response("exit", value=process.wait())), daemon=True
        )
        watcher.start()
        try:
            yield Function(api, process, log)
        finally:
            end(process)
            watcher.join()
            for _ in range(int(variables.get("AWS_LAMBDA_MAX_CONCURRENCY", "1"))):
                api.invocations.put(None)
            api.shutdown()
            server.join()


def _environment(api: RuntimeApi) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "PYTHONUNBUFFERED": "1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "Text",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0",
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_REGION": "eu-west-1",
    }

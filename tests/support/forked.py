"""``python -m fanfold`` in a separate process, forked from one that has imported the modules of the commands.

Such a command has a separate folder, environment, output, and exit code, as if a shell had started it. This saves the
half second that Python needs to import the command line in each of some hundred commands, and as much for the AWS SDK.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from shared_models import share_models

COMMANDS = (
    *("bench", "bench_estimate", "breaker", "cancel", "capture", "check", "init", "logs", "redrive", "replay", "run"),
    *("run_here", "runs", "show", "status"),
)
IMPORTED = (
    "asyncio",
    "typer.rich_utils",
    "typer._adapters",
    "fanfold.cli.app",
    *(f"fanfold.cli.{n}" for n in COMMANDS),
)
TEMPLATES = ("cfnlint.template", "samtranslator.translator.translator")
AWS = ("boto3", "fanfold.aws.backend", "fanfold.aws.sqs")
SERVICES = ("dynamodb", "s3", "sqs")
IMPORTED_BY_ARGUMENT = {
    "--output": ("matplotlib.figure", "matplotlib.backends.backend_agg"),
    **dict.fromkeys(("--template", "check"), TEMPLATES),
    **dict.fromkeys(("cancel", "demo", "local", "logs", "redrive", "results", "run", "runs", "status"), AWS),
}
"""Modules that only some commands import."""
_LARGEST_REQUEST = 1 << 20


class Parent:
    """The process from which commands are forked."""

    def __init__(self) -> None:
        self._requests, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with remote:
            self._process = subprocess.Popen(  # noqa: S603 - this file
                [sys.executable, __file__, str(remote.fileno())],
                pass_fds=[remote.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End the process, which ends when its socket is closed."""
        self._requests.close()
        self._process.wait()

    def run(
        self, *arguments: str, folder: Path | None, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; return its exit code and output.

        Raises:
            subprocess.TimeoutExpired: If it does not end within ``timeout`` seconds; it is killed.
        """
        request = json.dumps([arguments, str(folder or Path.cwd()), dict(environment)]).encode()
        replies, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with replies, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            with remote:
                socket.send_fds(self._requests, [request], [output.fileno(), errors.fileno(), remote.fileno()])
            process_id = int(replies.recv(100))
            replies.settimeout(timeout)
            try:
                code = int(replies.recv(100))
            except TimeoutError:
                os.kill(process_id, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["fanfold", *arguments], timeout) from None
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(["fanfold", *arguments], code, output.read(), errors.read())


@functools.cache
def parent() -> Parent:
    """Return the process of this session; the first call starts it."""
    started = Parent()
    atexit.register(started.close)
    return started


def _serve(descriptor: int) -> None:
    """Fork a process per request; return after the end of each forked process, and when the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests handle Ctrl-C, and then close the socket
    share_models()
    _import(IMPORTED)
    with socket.socket(fileno=descriptor) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 3)
            if not request:
                return
            _import(needed := [n for part in json.loads(request)[0] for n in IMPORTED_BY_ARGUMENT.get(part, ())])
            if "boto3" in needed:
                with contextlib.suppress(ImportError):
                    _parse_models()
            if not os.fork():
                break
            for number in descriptors:
                os.close(number)
            _reap()
    *outputs, reply_descriptor = descriptors
    with socket.socket(fileno=reply_descriptor) as replies:
        if process_id := os.fork():
            replies.send(str(process_id).encode())
            replies.send(str(os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])).encode())
            os._exit(0)  # without freeing each object, which would copy the memory of the parent
    _run_command(request, outputs)


def _import(names: Iterable[str]) -> None:
    """Import modules in this process, and thereby in all that are forked later; ignore what is not installed."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()


@functools.cache
def _parse_models() -> None:
    """Parse the models of the services that most commands call."""
    from boto3.session import Session  # not the session of boto3 itself, which keeps the settings of this process

    session = Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
    for service in SERVICES:
        session.client(service).close()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _run_command(request: bytes, outputs: list[int]) -> None:
    """Run ``python -m fanfold`` in this process, in the folder and environment of the request."""
    arguments, folder, environment = json.loads(request)
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
        os.close(output)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    runpy.run_module("fanfold", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))

"""``python -m fanfold`` in a process of its own, forked from one that has imported what commands import.

Such a command has its own folder, environment, output, and exit code, as if a shell had started it. Only half a second
is spent once: the time that Python needs to import the command line.
"""

import atexit
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
from collections.abc import Mapping
from pathlib import Path

COMMANDS = ("bench", "bench_estimate", "capture", "check", "init", "replay", "run", "run_here", "show", "status")
IMPORTED = ("asyncio", "typer.rich_utils", "fanfold.cli.app", *(f"fanfold.cli.{name}" for name in COMMANDS))
_LARGEST_REQUEST = 1 << 20


class Parent:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this file
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End it: it ends when nobody can ask any more."""
        self._requests.close()
        self._process.wait()

    def run(
        self, *arguments: str, folder: Path | None, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; return its code and what it printed.

        Raises:
            subprocess.TimeoutExpired: If it has not ended within ``timeout`` seconds; it is killed.
        """
        request = json.dumps([arguments, str(folder or Path.cwd()), dict(environment)]).encode()
        answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with answers, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            with theirs:
                socket.send_fds(self._requests, [request], [output.fileno(), errors.fileno(), theirs.fileno()])
            process_id = int(answers.recv(100))
            answers.settimeout(timeout)
            try:
                code = int(answers.recv(100))
            except TimeoutError:
                os.kill(process_id, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["fanfold", *arguments], timeout) from None
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(["fanfold", *arguments], code, output.read(), errors.read())


@functools.cache
def parent() -> Parent:
    """Return the one of this session, started when the first test asks for it."""
    started = Parent()
    atexit.register(started.close)
    return started


def _serve(descriptor: int) -> None:
    """Fork a process for each request; return in such a process, and where nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the tests, which then close the socket
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=descriptor) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 3)
            if not request:
                return
            if not os.fork():
                break
            for each in descriptors:
                os.close(each)
            _reap()
    *outputs, answers = descriptors
    with socket.socket(fileno=answers) as answer:
        if process_id := os.fork():
            answer.send(str(process_id).encode())
            answer.send(str(os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])).encode())
            return
    _become(request, outputs)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become(request: bytes, outputs: list[int]) -> None:
    """Do what ``python -m fanfold`` does, in its folder and environment."""
    arguments, folder, environment = json.loads(request)
    for number, each in enumerate(outputs, 1):
        os.dup2(each, number)
        os.close(each)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    runpy.run_module("fanfold", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))

"""The embedded AWS: an emulator in a separate process on the loopback interface, stopped when the block ends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanfold._base import operating_system
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError

HOST: Final = "127.0.0.1"
REGION: Final = "us-east-1"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""The emulator accepts any credentials."""
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05
_MAX_PORT = 65_535
_FROM_THE_USER: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP")
"""Variables that find programs. On Windows, no program starts without the last two."""


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A running emulator."""

    endpoint_url: str
    """URL of its endpoint."""
    pid: int
    """Its process id."""
    log: Path
    """Its log; deleted when it stops, unless the caller keeps it."""

    @property
    def client_settings(self) -> dict[str, str]:
        """Arguments that direct an AWS SDK client to it."""
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that direct an AWS SDK to it."""
        return {
            **CREDENTIALS,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
        }


@contextmanager
def local_stack(
    *,
    port: int | None = None,
    keep_log: Path | None = None,
    enforce_policies: bool = False,
    wait_share: float = 1.0,
) -> Iterator[LocalStack]:
    """Start the emulator on the loopback interface, yield it when it responds, and stop it with all its processes.

    Args:
        port: The port it listens on; None for a free one.
        keep_log: File for its log, which contains each line as soon as it is written; None to discard the log.
        enforce_policies: Whether to enforce roles and resource policies; otherwise, everything is allowed.
        wait_share: Share of their configured wait time that state machines wait between retries.

    Raises:
        MissingExtraError: If the emulator is not installed.
        ConfigurationError: If the port is invalid or in use, or the log cannot be written.
        FanfoldError: If it does not start.
    """
    for module in ("ministack", "samtranslator"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("local", "the local AWS")
    port = _free_port() if port is None else _checked_port(port)
    if keep_log is not None:
        _check_writable(keep_log)
    folder = Path(tempfile.mkdtemp(prefix="fanfold-local-"))
    log = folder / "emulator.log" if keep_log is None else keep_log.absolute()
    try:
        process = _spawn(port, folder, log, enforce_policies=enforce_policies, wait_share=wait_share)
        try:
            stack = LocalStack(f"http://{HOST}:{port}", process.pid, log)
            _await_health(stack, process)
            yield stack
        finally:
            operating_system.end(process, grace_seconds=_STOP_SECONDS)  # and every worker that it started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(port: int, folder: Path, log: Path, *, enforce_policies: bool, wait_share: float) -> subprocess.Popen[bytes]:
    # Its function workers inherit this environment. Of the user's variables, it contains only those that find programs.
    environment = {
        **{name: os.environ[name] for name in _FROM_THE_USER if name in os.environ},
        **CREDENTIALS,
        "AWS_DEFAULT_REGION": REGION,
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "S3_DATA_DIR": str(folder / "s3"),
        "LOG_LEVEL": "INFO",
        "PYTHONUNBUFFERED": "1",  # a line is in the log as soon as it is written
        "AUTH": str(enforce_policies).lower(),
        "SFN_WAIT_SCALE": str(wait_share),
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **operating_system.in_own_group(),  # Ctrl-C reaches only this process, which stops the whole group
        )


def _await_health(stack: LocalStack, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{stack.endpoint_url}/_ministack/health", timeout=1),  # noqa: S310 - loopback
        ):
            return
        time.sleep(_POLL_SECONDS)
    text = stack.log.read_text(encoding="utf-8", errors="replace") if stack.log.exists() else ""
    last = text.strip().splitlines()[-1:]
    raise FanfoldError(f"the local AWS did not start: {last[0] if last else 'its log is empty'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _check_writable(log: Path) -> None:
    try:
        log.touch()
    except OSError as error:
        raise ConfigurationError(f"--log {log} cannot be written: {error.strerror}") from error


def _checked_port(port: int) -> int:
    if not 1 <= port <= _MAX_PORT:
        raise ConfigurationError(f"--port must be an integer from 1 to {_MAX_PORT}, not {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} is in use: use another --port, or omit --port to use a free one"
            ) from error
    return port

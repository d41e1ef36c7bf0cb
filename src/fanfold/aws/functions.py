"""A deployed function: changes and restores its memory and one environment variable, and invokes it.

An update keeps the other environment variables as they are at that moment.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fanfold._base.backoff import Backoff
from fanfold._base.operating_system import signals
from fanfold._base.retry import RetrySchedule
from fanfold.aws.faults import map_errors
from fanfold.aws.report import Report, report_of
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError

_POLL_SECONDS: Final = 0.2
_UPDATE_SECONDS: Final = 120.0
_NETWORK_SECONDS: Final = 10.0
_IN_USE: Final = "ResourceConflictException"
_THROTTLED: Final = "TooManyRequestsException"
_RETRIES: Final = RetrySchedule(5, Backoff(base=0.2, cap=5.0))
"""5 attempts, with delays of 0.1 to 0.2 s, 0.2 to 0.4 s, 0.4 to 0.8 s and 0.8 to 1.6 s."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FunctionSetting:
    """The settings that a sweep changes."""

    memory_mb: int
    """Memory in MB."""
    value: str | None
    """Value of the environment variable; None if it is not set."""


class DeployedFunction:
    """A function on Lambda.

    Args:
        client: A boto3 client of Lambda.
        name: Name or ARN of the function.
        variable: The environment variable that the sweep changes.
        invoker: A client for invocations, without retries; None for the same client.
    """

    def __init__(self, client: Any, name: str, variable: str, invoker: Any = None) -> None:
        self.name = name
        """Name or ARN of the function."""
        self._client = client
        self._invoker = invoker or client
        self._variable = variable

    @classmethod
    def connect(cls, name: str, variable: str, timeout_seconds: float) -> DeployedFunction:
        """Return a function, with the credentials and region of the environment.

        Args:
            name: Name or ARN of the function.
            variable: The environment variable that the sweep changes.
            timeout_seconds: Timeout of an invocation.
        """
        import boto3
        from botocore.config import Config

        settings = Config(read_timeout=timeout_seconds + _NETWORK_SECONDS, retries={"total_max_attempts": 1})
        with map_errors(f"function {name}"):
            return cls(boto3.client("lambda"), name, variable, boto3.client("lambda", config=settings))

    def setting(self) -> FunctionSetting:
        """Return the current settings of the function."""
        configuration = self._configuration()
        return FunctionSetting(int(configuration["MemorySize"]), _variables(configuration).get(self._variable))

    @contextmanager
    def restored_on_exit(self) -> Iterator[FunctionSetting]:
        """Yield the current settings of the function; restore them at the end, also after an error.

        Signals that would end the process wait until the settings are restored. If that fails, the error states what to
        set by hand.
        """
        before = self.setting()
        with _hangup_interrupts():
            try:
                yield before
            finally:
                with _deferred_signals():
                    self._restore(before)

    def set(self, setting: FunctionSetting) -> None:
        """Set memory and environment variable; wait until the update is complete.

        Raises:
            ConfigurationError: If the function does not exist, or access is denied.
            FanfoldError: If Lambda refuses the update or does not finish it.
        """
        _with_retries(lambda: self._update(setting), lambda error: error.transient or error.code == _IN_USE)
        self._wait_for_update()

    def _update(self, setting: FunctionSetting) -> None:
        variables = _variables(self._wait_for_update())
        variables.pop(self._variable, None)
        if setting.value is not None:
            variables[self._variable] = setting.value
        with map_errors(f"function {self.name}"):
            self._client.update_function_configuration(
                FunctionName=self.name, MemorySize=setting.memory_mb, Environment={"Variables": variables}
            )

    def _restore(self, before: FunctionSetting) -> None:
        try:
            self._wait_for_update()
            if self.setting() != before:
                self.set(before)
        except FanfoldError as error:
            value = "no value" if before.value is None else before.value
            raise FanfoldError(
                f"function {self.name} could not be restored: set its memory to {before.memory_mb} MB and "
                f"{self._variable} to {value} ({error})"
            ) from error

    def invoke(self, event: Mapping[str, Any]) -> Report:
        """Invoke the function and wait for its response; a throttled invocation has not run, and is retried.

        Raises:
            ConfigurationError: If the function does not exist, or access is denied.
            ServiceError: If Lambda did not accept the invocation.
        """
        return _with_retries(lambda: self._invoke_once(event), lambda error: error.code == _THROTTLED)

    def _invoke_once(self, event: Mapping[str, Any]) -> Report:
        began = time.monotonic()
        with map_errors(f"function {self.name}"):
            response = self._invoker.invoke(FunctionName=self.name, Payload=json.dumps(event).encode(), LogType="Tail")
            payload = response["Payload"].read().decode("utf-8", "replace")
        return report_of(payload, response, time.monotonic() - began)

    def _wait_for_update(self) -> Mapping[str, Any]:
        """Wait until no update is in progress; return the configuration."""
        deadline = time.monotonic() + _UPDATE_SECONDS
        while time.monotonic() < deadline:
            configuration = self._configuration()
            if configuration.get("LastUpdateStatus") == "Failed":
                raise FanfoldError(
                    f"function {self.name}: update failed: {configuration.get('LastUpdateStatusReason')}"
                )
            if configuration.get("LastUpdateStatus") != "InProgress" and configuration.get("State") != "Pending":
                return configuration
            time.sleep(_POLL_SECONDS)
        raise FanfoldError(f"function {self.name}: an update did not complete within {_UPDATE_SECONDS:g} s")

    def _configuration(self) -> Mapping[str, Any]:
        with map_errors(f"function {self.name}"):
            configuration: Mapping[str, Any] = self._client.get_function_configuration(FunctionName=self.name)
            return configuration


def _with_retries(call: Callable[[], T], is_transient: Callable[[ServiceError], bool]) -> T:
    failures = 0
    while True:
        try:
            return call()
        except ServiceError as error:
            failures += 1
            if not is_transient(error) or (seconds := _RETRIES.delay(failures)) is None:
                raise
            time.sleep(seconds)


def _variables(configuration: Mapping[str, Any]) -> dict[str, str]:
    environment = configuration.get("Environment") or {}
    if "Error" in environment:
        raise ConfigurationError(f"the function's variables cannot be read: {environment['Error'].get('Message')}")
    return dict(environment.get("Variables") or {})


@contextmanager
def _hangup_interrupts() -> Iterator[None]:
    """Treat SIGHUP like Ctrl-C, so that closing the terminal also restores the function."""
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in signals("SIGHUP") if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer signals that end the process; no-op outside the main thread, where Python handles no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deferred: list[int] = []
    numbers = signals("SIGINT", "SIGTERM", "SIGHUP")
    handlers = [signal.signal(number, lambda number, _: deferred.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
    if deferred:
        raise KeyboardInterrupt

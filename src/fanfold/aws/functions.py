"""A deployed function's memory and one variable: changed, and put back; and its invocations, with what Lambda reports.

Only what is swept is written; other variables are taken as they are at that moment.
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
from fanfold.aws.faults import faults_of
from fanfold.aws.report import Report, report_of
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError

_POLL_SECONDS: Final = 0.2
_UPDATE_SECONDS: Final = 120.0
_NETWORK_SECONDS: Final = 10.0
_IN_USE: Final = "ResourceConflictException"
_THROTTLED: Final = "TooManyRequestsException"
_RETRIES: Final = RetrySchedule(5, Backoff(base=0.2, cap=5.0))
"""5 calls; 0.1 to 0.2 s, 0.2 to 0.4 s, 0.4 to 0.8 s and 0.8 to 1.6 s between them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FunctionSetting:
    """What is swept of a function."""

    memory_mb: int
    """Its memory, MB."""
    value: str | None
    """Value of the variable; None where it is not set."""


class DeployedFunction:
    """A function on Lambda.

    Args:
        client: A boto3 client of Lambda.
        name: Name or ARN of the function.
        variable: The variable that is swept.
        invoker: Another one, to invoke with, that tries nothing twice; None for the same.
    """

    def __init__(self, client: Any, name: str, variable: str, invoker: Any = None) -> None:
        self.name = name
        """Names it."""
        self._client = client
        self._invoker = invoker or client
        self._variable = variable

    @classmethod
    def connect(cls, name: str, variable: str, timeout_seconds: float) -> DeployedFunction:
        """Return a function by the environment's credentials and region.

        Args:
            name: Name or ARN of the function.
            variable: The variable that is swept.
            timeout_seconds: What an invocation may take.
        """
        import boto3
        from botocore.config import Config

        settings = Config(read_timeout=timeout_seconds + _NETWORK_SECONDS, retries={"total_max_attempts": 1})
        with faults_of(f"function {name}"):
            return cls(boto3.client("lambda"), name, variable, boto3.client("lambda", config=settings))

    def setting(self) -> FunctionSetting:
        """Return how the function is set now."""
        configuration = self._configuration()
        return FunctionSetting(int(configuration["MemorySize"]), _variables(configuration).get(self._variable))

    @contextmanager
    def put_back(self) -> Iterator[FunctionSetting]:
        """Yield how the function is set, and set it so again in the end, whatever happens.

        Signals that would end the process wait until it is done. If it cannot be done, the error says what to set.
        """
        before = self.setting()
        with _hangup_interrupts():
            try:
                yield before
            finally:
                with _undisturbed():
                    self._return_to(before)

    def set(self, setting: FunctionSetting) -> None:
        """Set memory and variable, and wait until that is in force.

        Raises:
            ConfigurationError: If there is no such function, or it may not be changed.
            FanfoldError: If Lambda refuses the update or does not finish it.
        """
        _retried(lambda: self._update(setting), lambda error: error.transient or error.code == _IN_USE)
        self._settled()

    def _update(self, setting: FunctionSetting) -> None:
        variables = _variables(self._settled())
        variables.pop(self._variable, None)
        if setting.value is not None:
            variables[self._variable] = setting.value
        with faults_of(f"function {self.name}"):
            self._client.update_function_configuration(
                FunctionName=self.name, MemorySize=setting.memory_mb, Environment={"Variables": variables}
            )

    def _return_to(self, before: FunctionSetting) -> None:
        try:
            self._settled()
            if self.setting() != before:
                self.set(before)
        except FanfoldError as error:
            value = "no value" if before.value is None else before.value
            raise FanfoldError(
                f"function {self.name} could not be put back: set its memory to {before.memory_mb} MB and "
                f"{self._variable} to {value} ({error})"
            ) from error

    def invoke(self, event: Mapping[str, Any]) -> Report:
        """Invoke it and wait for its answer; an invocation that is throttled has not run, and is tried again.

        Raises:
            ConfigurationError: If there is no such function, or it may not be invoked.
            ServiceError: If Lambda did not take the invocation.
        """
        return _retried(lambda: self._invoked(event), lambda error: error.code == _THROTTLED)

    def _invoked(self, event: Mapping[str, Any]) -> Report:
        began = time.monotonic()
        with faults_of(f"function {self.name}"):
            answer = self._invoker.invoke(FunctionName=self.name, Payload=json.dumps(event).encode(), LogType="Tail")
            payload = answer["Payload"].read().decode("utf-8", "replace")
        return report_of(payload, answer, time.monotonic() - began)

    def _settled(self) -> Mapping[str, Any]:
        """Return the configuration when no update is under way."""
        until = time.monotonic() + _UPDATE_SECONDS
        while time.monotonic() < until:
            configuration = self._configuration()
            if configuration.get("LastUpdateStatus") == "Failed":
                raise FanfoldError(
                    f"function {self.name}: update failed: {configuration.get('LastUpdateStatusReason')}"
                )
            if configuration.get("LastUpdateStatus") != "InProgress" and configuration.get("State") != "Pending":
                return configuration
            time.sleep(_POLL_SECONDS)
        raise FanfoldError(f"function {self.name}: an update was not finished in {_UPDATE_SECONDS:g} s")

    def _configuration(self) -> Mapping[str, Any]:
        with faults_of(f"function {self.name}"):
            configuration: Mapping[str, Any] = self._client.get_function_configuration(FunctionName=self.name)
            return configuration


def _retried(call: Callable[[], T], may_pass: Callable[[ServiceError], bool]) -> T:
    failures = 0
    while True:
        try:
            return call()
        except ServiceError as error:
            failures += 1
            if not may_pass(error) or (seconds := _RETRIES.delay(failures)) is None:
                raise
            time.sleep(seconds)


def _variables(configuration: Mapping[str, Any]) -> dict[str, str]:
    environment = configuration.get("Environment") or {}
    if "Error" in environment:
        raise ConfigurationError(f"the function's variables cannot be read: {environment['Error'].get('Message')}")
    return dict(environment.get("Variables") or {})


@contextmanager
def _hangup_interrupts() -> Iterator[None]:
    """Let the end of the terminal end the sweep as Ctrl-C does, so that the function is put back then, too."""
    main = threading.current_thread() is threading.main_thread()
    numbers = [each for each in signals("SIGHUP") if main and signal.getsignal(each) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that end the process wait; elsewhere than on the main thread Python raises none of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = signals("SIGINT", "SIGTERM", "SIGHUP")
    handlers = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt

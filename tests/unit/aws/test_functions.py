"""Changing, invoking, and restoring a deployed function, on a scripted Lambda client."""

import io
import os
import signal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fanfold.aws.functions import DeployedFunction, FunctionSetting
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError


class Lambda:
    """A Lambda client with one function of 256 MB, which raises the given errors first."""

    def __init__(self, **errors: list[str]) -> None:
        self.memory, self.variables = 256, {"OTHER": "kept"}
        self.status: list[str] = []
        self.environment_error = False
        self.interrupt_update = False
        self.invocations = 0
        self._errors = errors

    def get_function_configuration(self, **arguments: Any) -> dict[str, Any]:
        status = self.status.pop(0) if self.status else "Successful"
        environment: dict[str, Any] = {"Variables": dict(self.variables)}
        if self.environment_error:
            environment = {"Error": {"Message": "access to the key is denied"}}
        return {"MemorySize": self.memory, "Environment": environment, "LastUpdateStatus": status,
                "LastUpdateStatusReason": "no such role", "State": "Active"}  # fmt: skip

    def update_function_configuration(self, **arguments: Any) -> None:
        self._fail("update")
        if self.interrupt_update:
            os.kill(os.getpid(), signal.SIGINT)
        self.memory, self.variables = arguments["MemorySize"], arguments["Environment"]["Variables"]

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self._fail("invoke")
        self.invocations += 1
        return {"Payload": io.BytesIO(b"null"), "LogResult": ""}

    def _fail(self, call: str) -> None:
        if codes := self._errors.get(call):
            raise ClientError({"Error": {"Code": codes.pop(0), "Message": "not now"}}, call)


def function(client: Lambda) -> DeployedFunction:
    return DeployedFunction(client, "swept", "FANFOLD_CONCURRENCY")


def test_an_interrupt_is_deferred_until_the_function_is_restored():
    """Ctrl-C during the restore raises KeyboardInterrupt afterwards."""
    client = Lambda()
    with pytest.raises(KeyboardInterrupt), function(client).restored_on_exit():  # noqa: PT012 - the block is under test
        function(client).set(FunctionSetting(512, "9"))
        client.interrupt_update = True
    assert (client.memory, client.variables) == (256, {"OTHER": "kept"})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_update_in_progress_delays_the_next_one():
    """The same holds if Lambda reports it as a conflict."""
    client = Lambda(update=["ResourceConflictException", "TooManyRequestsException"])
    client.status = ["InProgress", "Successful"]
    function(client).set(FunctionSetting(512, "9"))
    assert (client.memory, client.variables) == (512, {"OTHER": "kept", "FANFOLD_CONCURRENCY": "9"})


def test_a_failed_or_refused_update_raises():
    """The error has Lambda's reason."""
    client = Lambda()
    client.status = ["Failed"]
    with pytest.raises(FanfoldError, match="update failed: no such role"):
        function(client).set(FunctionSetting(512, "9"))
    with pytest.raises(ServiceError, match="InvalidParameterValueException"):
        function(Lambda(update=["InvalidParameterValueException"])).set(FunctionSetting(512, "9"))


def test_unreadable_variables_are_never_overwritten():
    """An update replaces all variables, so unreadable ones would be lost."""
    client = Lambda()
    client.environment_error = True
    with pytest.raises(ConfigurationError, match="variables cannot be read: access to the key is denied"):
        function(client).set(FunctionSetting(512, "9"))
    assert client.memory == 256


def test_only_a_throttled_invocation_is_retried():
    """A throttled invocation has not run; any other failed call may have."""
    client = Lambda(invoke=["TooManyRequestsException"])
    assert function(client).invoke({"Records": []}).payload == "null"
    assert client.invocations == 1
    with pytest.raises(ServiceError, match="ServiceException"):
        function(Lambda(invoke=["ServiceException"])).invoke({"Records": []})

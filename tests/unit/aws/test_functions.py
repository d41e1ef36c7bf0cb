"""A deployed function that is set, invoked and put back, on a client that answers as it is told to."""

import io
import os
import signal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fanfold.aws.functions import DeployedFunction, FunctionSetting
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError


class Lambda:
    """A function with 256 MB, and errors to raise before calls succeed."""

    def __init__(self, **errors: list[str]) -> None:
        self.memory, self.variables = 256, {"OTHER": "kept"}
        self.status: list[str] = []
        self.environment_error = False
        self.interrupt_update = False
        self.invocations = 0
        self._errors = errors

    def get_function_configuration(self, **asked: Any) -> dict[str, Any]:
        status = self.status.pop(0) if self.status else "Successful"
        environment: dict[str, Any] = {"Variables": dict(self.variables)}
        if self.environment_error:
            environment = {"Error": {"Message": "access to the key is denied"}}
        return {"MemorySize": self.memory, "Environment": environment, "LastUpdateStatus": status,
                "LastUpdateStatusReason": "no such role", "State": "Active"}  # fmt: skip

    def update_function_configuration(self, **asked: Any) -> None:
        self._fail("update")
        if self.interrupt_update:
            os.kill(os.getpid(), signal.SIGINT)
        self.memory, self.variables = asked["MemorySize"], asked["Environment"]["Variables"]

    def invoke(self, **asked: Any) -> dict[str, Any]:
        self._fail("invoke")
        self.invocations += 1
        return {"Payload": io.BytesIO(b"null"), "LogResult": ""}

    def _fail(self, call: str) -> None:
        if codes := self._errors.get(call):
            raise ClientError({"Error": {"Code": codes.pop(0), "Message": "not now"}}, call)


def function(client: Lambda) -> DeployedFunction:
    return DeployedFunction(client, "swept", "FANFOLD_CONCURRENCY")


def test_an_interrupt_waits_until_the_function_is_put_back():
    """Ctrl-C in the middle of putting back is raised after it."""
    client = Lambda()
    with pytest.raises(KeyboardInterrupt), function(client).restored_on_exit():  # noqa: PT012 - the block is it
        function(client).set(FunctionSetting(512, "9"))
        client.interrupt_update = True
    assert (client.memory, client.variables) == (256, {"OTHER": "kept"})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_update_under_way_is_waited_for_before_the_next():
    """Also when Lambda says so by a conflict."""
    client = Lambda(update=["ResourceConflictException", "TooManyRequestsException"])
    client.status = ["InProgress", "Successful"]
    function(client).set(FunctionSetting(512, "9"))
    assert (client.memory, client.variables) == (512, {"OTHER": "kept", "FANFOLD_CONCURRENCY": "9"})


def test_an_update_that_failed_or_is_refused_is_told():
    """With Lambda's reason."""
    client = Lambda()
    client.status = ["Failed"]
    with pytest.raises(FanfoldError, match="update failed: no such role"):
        function(client).set(FunctionSetting(512, "9"))
    with pytest.raises(ServiceError, match="InvalidParameterValueException"):
        function(Lambda(update=["InvalidParameterValueException"])).set(FunctionSetting(512, "9"))


def test_variables_that_cannot_be_read_are_never_written():
    """An update would lose them."""
    client = Lambda()
    client.environment_error = True
    with pytest.raises(ConfigurationError, match="variables cannot be read: access to the key is denied"):
        function(client).set(FunctionSetting(512, "9"))
    assert client.memory == 256


def test_a_throttled_invocation_is_tried_again_and_no_other():
    """It has not run; one that failed in another way may have."""
    client = Lambda(invoke=["TooManyRequestsException"])
    assert function(client).invoke({"Records": []}).payload == "null"
    assert client.invocations == 1
    with pytest.raises(ServiceError, match="ServiceException"):
        function(Lambda(invoke=["ServiceException"])).invoke({"Records": []})

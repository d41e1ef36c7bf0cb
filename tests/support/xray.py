"""The X-Ray SDK as in Lambda, without sending anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aws_lambda_powertools import Tracer
from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.lambda_launcher import LambdaContext

FACADE = "53995c3f42cd8ad8"
"""ID of the segment that Lambda opens."""


class Emitter:
    """Collects what the X-Ray SDK would send to the daemon."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send_entity(self, entity: Any) -> None:
        self.sent.append(entity)

    def take(self) -> list[tuple[str, str]]:
        """Return the pairs (name, name of the parent) of the subsegments since the last call, sorted."""
        names = {entity.id: entity.name for entity in self.sent} | {FACADE: "facade"}
        taken = sorted((entity.name, names[entity.parent_id]) for entity in self.sent)
        self.sent.clear()
        return taken


@contextmanager
def xray_as_in_lambda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emitter]:
    """Enable tracing, and yield an emitter; at the end, the test must have taken everything that was sent."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={FACADE};Sampled=1")
    Tracer._reset_config()
    global_sdk_config.set_sdk_enabled(True)  # a tracer outside Lambda disables it globally
    emitter = Emitter()
    monkeypatch.setattr(xray_recorder, "_emitter", emitter)
    monkeypatch.setattr(xray_recorder, "_context", LambdaContext())
    yield emitter
    assert not emitter.sent
    Tracer._reset_config()

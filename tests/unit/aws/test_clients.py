"""Clients are created without blocking the event loop for longer than necessary."""

import threading
from typing import Any

import pytest

from fanfold._base.threads import Threads
from fanfold.aws import clients

KEYS = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "eu-west-1"}


@pytest.fixture
def session_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads on which the SDK's sessions were created."""
    threads: list[threading.Thread] = []
    get_session = clients.get_session

    def recorded() -> Any:
        threads.append(threading.current_thread())
        return get_session()

    monkeypatch.setattr(clients, "get_session", recorded)
    return threads


async def test_a_session_is_created_on_another_thread(session_threads: list[threading.Thread]):
    """It takes milliseconds, for which the handlers on the event loop would wait."""
    async with clients.client_of("sqs", "queue", {}, **KEYS) as sqs:
        assert sqs.meta.region_name == "eu-west-1"
    assert session_threads
    assert threading.current_thread() not in session_threads


async def test_a_client_is_created_even_if_no_thread_can_be_started(
    session_threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
):
    """Then the session is created on the event loop."""

    async def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Threads, "run", fail)
    async with clients.client_of("sqs", "queue", {}, **KEYS):
        pass
    assert session_threads == [threading.current_thread()]

"""X-Ray subsegments that handlers open in worker processes."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from fanfold.powertools import RecordTracing
from fanfold.testing import make_context, make_event
from xray import FACADE, Emitter, xray_as_in_lambda


@pytest.fixture
def xray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emitter]:
    with xray_as_in_lambda(monkeypatch) as emitter:
        yield emitter
        emitter.sent.clear()


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of X-Ray's daemon, to which worker processes send."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(60)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}")
        yield listening


def received(daemon: socket.socket, count: int) -> dict[int, dict[str, Any]]:
    """Return the next subsegments, by their number."""
    documents = [json.loads(daemon.recv(65536).partition(b"\n")[2]) for _ in range(count)]
    return {document["annotations"]["number"]: document for document in documents}


def test_subsegments_of_a_worker_process_are_children_of_the_subsegment_of_their_record(
    xray: Emitter, daemon: socket.socket
):
    """``RecordTracing`` opens it in the consumer's process."""
    import xray_process_app

    tracing = RecordTracing(xray_process_app.tracer)
    consumer = xray_process_app.handler.with_settings(observers=[tracing])
    for _ in range(2):
        assert consumer(make_event(-1, 2, 3), make_context(60)) == {"batchItemFailures": []}
        sent = received(daemon, 3)
        records = {entity.id: entity.annotations["message_id"] for entity in xray.sent}
        assert {number: records[document["parent_id"]] for number, document in sent.items()} == {
            -1: "message-0", 2: "message-1", 3: "message-2",
        }  # fmt: skip
        xray.sent.clear()
    consumer.close()


def test_without_a_subsegment_for_each_record_they_are_children_of_that_around_the_consumer(
    xray: Emitter, daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    """Without that one, of the segment of the invocation; so are those of the next invocation, whose trace is new."""
    import xray_process_app

    consumer = xray_process_app.handler.with_settings(timeout=60)
    traced = xray_process_app.tracer.capture_lambda_handler(consumer)
    assert traced(make_event(1), make_context(60)) == {"batchItemFailures": []}
    assert [received(daemon, 1)[1]["parent_id"]] == [entity.id for entity in xray.sent]
    assert consumer(make_event(2), make_context(60)) == {"batchItemFailures": []}
    assert received(daemon, 1)[2]["parent_id"] == FACADE
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-aaaaaaaaaaaaaaaaaaaaaaaa;Parent=1122334455667788;Sampled=1")
    assert consumer(make_event(3), make_context(60)) == {"batchItemFailures": []}
    document = received(daemon, 1)[3]
    assert (document["trace_id"], document["parent_id"]) == ("1-5759e988-aaaaaaaaaaaaaaaaaaaaaaaa", "1122334455667788")
    consumer.close()

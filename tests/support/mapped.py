"""An event source mapping between a queue in this process and a handler: its own decisions, done."""

import json
from collections.abc import Sequence
from typing import Any

from fanfold._ports.queue import Received
from fanfold._replay.mapping import Errored, Invocation, MappingSettings, Returned, judge
from fanfold.inmemory import InMemoryQueue
from fanfold.testing import make_context, make_event, make_record


def event_of(received: Sequence[Received]) -> dict[str, Any]:
    """Return the event that the function is invoked with."""
    return make_event(
        records=[
            make_record(
                each.body,
                message_id=each.message_id,
                receive_count=each.receive_count,
                message_attributes={
                    name: {"stringValue": text, "dataType": "String"} for name, text in each.attributes.items()
                },
            )
            | {"receiptHandle": each.receipt_handle}
            for each in received
        ]
    )


async def delete(queue: InMemoryQueue, received: Sequence[Received], invocation: Invocation) -> None:
    """Delete from the queue what the mapping deletes after an invocation."""
    failed = judge(invocation, [each.message_id for each in received], MappingSettings()).failed
    if done := [each.receipt_handle for each in received if each.message_id not in failed]:
        await queue.delete(done)


def deleted(handler: Any, event: dict[str, Any], seconds: float = 30.0) -> list[str]:
    """Invoke a handler, close it, and return the ids of the messages that the mapping then deletes, in batch order."""
    ids = [record["messageId"] for record in event["Records"]]
    invocation: Invocation
    try:
        invocation = Returned(json.dumps(handler(event, make_context(seconds))))
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch comes back
        invocation = Errored("error", repr(error))
    finally:
        handler.close()
    failed = judge(invocation, ids, MappingSettings()).failed
    return [one for one in ids if one not in failed]

"""An event source mapping between an in-memory queue and a handler, with the decisions of ``_replay.mapping``."""

import json
from collections.abc import Sequence
from typing import Any

from fanfold._ports.queue import Received
from fanfold._replay.mapping import Errored, Invocation, MappingSettings, Returned, judge
from fanfold.inmemory import InMemoryQueue
from fanfold.testing import make_context, make_event, make_record


def event_of(received: Sequence[Received]) -> dict[str, Any]:
    """Return the event for received messages."""
    return make_event(
        records=[
            make_record(
                message.body,
                message_id=message.message_id,
                receive_count=message.receive_count,
                message_attributes={
                    name: {"stringValue": text, "dataType": "String"} for name, text in message.attributes.items()
                },
            )
            | {"receiptHandle": message.receipt_handle}
            for message in received
        ]
    )


async def delete(queue: InMemoryQueue, received: Sequence[Received], invocation: Invocation) -> None:
    """Delete the messages that the mapping deletes after an invocation."""
    failed = judge(invocation, [message.message_id for message in received], MappingSettings()).failed
    if done := [message.receipt_handle for message in received if message.message_id not in failed]:
        await queue.delete(done)


def deleted(handler: Any, event: dict[str, Any], seconds: float = 30.0) -> list[str]:
    """Invoke a handler, close it, and return the ids of the messages that the mapping deletes, in batch order."""
    ids = [record["messageId"] for record in event["Records"]]
    invocation: Invocation
    try:
        invocation = Returned(json.dumps(handler(event, make_context(seconds))))
    except Exception as error:  # noqa: BLE001 - any error makes SQS redeliver the batch
        invocation = Errored("error", repr(error))
    finally:
        handler.close()
    failed = judge(invocation, ids, MappingSettings()).failed
    return [message_id for message_id in ids if message_id not in failed]

"""A local SQS endpoint for the simulated queues of a replay: it receives the handler's calls to SQS.

It supports the JSON protocol of current SDKs (SQS API reference, "Making query API requests"; boto3 1.28 and later) and
the calls that a handler makes: changing visibility timeouts, deleting, and sending. It also keeps the idempotency
entries of a replay. It listens on 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from fanfold._replay.kept_entries import TARGET as ENTRIES
from fanfold._replay.kept_entries import KeptEntries
from fanfold.inmemory.queue import InMemoryQueue

ACCOUNT: Final = "123456789012"
_NOT_FOUND: Final = "com.amazonaws.sqs#QueueDoesNotExist"
_STALE: Final = "com.amazonaws.sqs#ReceiptHandleIsInvalid"
_UNKNOWN: Final = "com.amazon.coral.service#UnknownOperationException"


class _RefusedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Endpoint:
    """An SQS endpoint for in-memory queues.

    Args:
        queues: The queues by name.
    """

    def __init__(self, queues: Mapping[str, InMemoryQueue]) -> None:
        self.url = ""
        """The URL it listens on; set once it is listening."""
        self._queues = queues
        self._entries = KeptEntries()
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._calls: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "ChangeMessageVisibility": lambda request: self._change(request, request),
            "ChangeMessageVisibilityBatch": lambda request: _for_entries(request, self._change),
            "DeleteMessage": lambda request: self._delete(request, request),
            "DeleteMessageBatch": lambda request: _for_entries(request, self._delete),
            "GetQueueUrl": lambda request: {"QueueUrl": self.queue_url(request["QueueName"])},
            "GetQueueAttributes": self._attributes,
            "SendMessage": lambda request: self._send(request, request),
            "SendMessageBatch": lambda request: _for_entries(request, self._send),
        }

    def queue_url(self, name: str) -> str:
        """Return the URL of a queue."""
        return f"{self.url}/{ACCOUNT}/{name}"

    def environment(self, queue: str, dead_letter_queue: str) -> dict[str, str]:
        """Return environment variables that direct a handler's SQS calls to this endpoint and name its queues."""
        variables = {
            "AWS_ENDPOINT_URL_SQS": self.url,
            "FANFOLD_DEAD_LETTER_QUEUE_URL": self.queue_url(dead_letter_queue),
            "FANFOLD_QUEUE_URL": self.queue_url(queue),
        }
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "eu-west-1"
        variables["AWS_REGION"] = variables["AWS_DEFAULT_REGION"] = region  # Lambda sets both
        configured = {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} & os.environ.keys()
        if not configured and not (Path.home() / ".aws").exists():
            variables["AWS_ACCESS_KEY_ID"] = variables["AWS_SECRET_ACCESS_KEY"] = "replay"  # noqa: S105 - SDKs need one
        return variables

    def respond(self, target: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Run an action, given as in the header ``X-Amz-Target``; return the HTTP status and the response."""
        service, _, action = target.partition(".")
        with self._lock:
            if service == ENTRIES:
                return 200, self._entries.respond(action, request)
            if action not in self._calls:
                return 400, {
                    "__type": _UNKNOWN,
                    "message": f"a replayed queue does not support {action or 'this call'}",
                }
            try:
                return 200, self._calls[action](request)
            except _RefusedError as error:
                return 400, {"__type": error.code, "message": str(error)}
            except (KeyError, TypeError, ValueError) as error:
                return 400, {"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": repr(error)}

    def _queue(self, request: Mapping[str, Any]) -> InMemoryQueue:
        name = str(request["QueueUrl"]).rsplit("/", 1)[-1]
        if name not in self._queues:
            raise _RefusedError(_NOT_FOUND, f"queue {name!r} is not part of this replay")
        return self._queues[name]

    def _change(self, request: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
        if not self._queue(request).change_visibility(entry["ReceiptHandle"], int(entry["VisibilityTimeout"])):
            raise _RefusedError(_STALE, "the message is not in flight, or its visibility timeout would exceed 12 hours")
        return {}

    def _delete(self, request: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
        self._queue(request).remove(entry["ReceiptHandle"])  # as in SQS, a stale handle is not an error
        return {}

    def _send(self, request: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
        queue, body = self._queue(request), str(entry["MessageBody"])
        md5 = hashlib.md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        message_id = self._message_id(entry)
        attributes = {"SenderId": "REPLAY", "SentTimestamp": "0"}
        for name in ("MessageGroupId", "MessageDeduplicationId"):
            if name in entry:
                attributes[name] = entry[name]
        queue.put(
            {
                "messageId": message_id,
                "body": body,
                "attributes": attributes,
                "messageAttributes": {
                    name: {key[0].lower() + key[1:]: value for key, value in attribute.items()}
                    for name, attribute in entry.get("MessageAttributes", {}).items()
                },
                "md5OfBody": md5,
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{str(request['QueueUrl']).rsplit('/', 1)[-1]}",
                "awsRegion": "eu-west-1",
            },
            delay_seconds=float(entry.get("DelaySeconds", 0)),
        )
        return {"MessageId": message_id, "MD5OfMessageBody": md5}

    def _message_id(self, entry: Mapping[str, Any]) -> str:
        """Return the id of a message that is sent: the same in every replay, whatever the order of concurrent calls."""
        fields = {name: value for name, value in entry.items() if name not in {"Id", "QueueUrl"}}
        content = json.dumps(fields, sort_keys=True)
        self._sent[content] += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._sent[content]} {content}"))

    def _attributes(self, request: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue(request)
        attributes = {
            "VisibilityTimeout": f"{queue.visibility_timeout:g}",
            "ApproximateNumberOfMessages": str(len(queue)),
            "FifoQueue": str(queue.fifo).lower(),
        }
        return {"Attributes": attributes}


def _for_entries(
    request: dict[str, Any], action: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Run an action for each entry of a batch request; return the batch result."""
    response: dict[str, Any] = {"Successful": [], "Failed": []}
    for entry in request["Entries"]:
        try:
            response["Successful"].append({"Id": entry["Id"], **action(request, entry)})
        except _RefusedError as error:
            code = error.code.partition("#")[2]
            if error.code == _NOT_FOUND:
                raise
            response["Failed"].append({"Id": entry["Id"], "Code": code, "Message": str(error), "SenderFault": True})
    return response


@contextmanager
def serving(queues: Mapping[str, InMemoryQueue]) -> Iterator[Endpoint]:
    """Serve in-memory queues by name on a free port of 127.0.0.1 while the block runs."""
    endpoint = Endpoint(queues)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            target = self.headers.get("X-Amz-Target", "")
            try:
                request = json.loads(text)
            except ValueError:
                request, target = {}, ""
            status, response = endpoint.respond(target, request)
            body = json.dumps(response).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

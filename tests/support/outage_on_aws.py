"""A function with a breaker on the local AWS, its queues and mappings, and the service that it calls."""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3

import fanfold
from fanfold._ports.breakers import Circuit
from fanfold._stack.deploy import package_folder
from fanfold._stack.emulator import LocalStack
from fanfold.aws import breaker_items

CODE: Final = Path(__file__).parent / "breaker_function"
STEPS: Final = (
    "before OPEN",
    "after OPEN",
    "held",
    "stored",
    "held and stored",
    "after HALF_OPEN",
    "before CLOSED",
    "after CLOSED",
    "some released",
    "released",
)
"""The steps of an outage at which the function's process can end: around a change of the circuit's state, between
holding messages and storing their handles, in either order, and while the first messages are made visible."""
LONG_BUDGET: Final = 130_200.0
"""An outage budget with which messages are held for at least ten minutes: no message returns unless it is released."""
VISIBILITY_SECONDS: Final = 10
RECEIVES: Final = 5
GROUPS: Final = 5
GROUPED: Final = 25
"""The first messages that are sent to a FIFO queue, and the number of their groups."""
_WITHIN_SECONDS: Final = 240.0
_POLL_SECONDS: Final = 0.25
_TRAFFIC_SECONDS: Final = 1.0


class Clients:
    """Clients of a local AWS, for all functions that are deployed to it."""

    def __init__(self, stack: LocalStack) -> None:
        services = ("sqs", "lambda", "dynamodb")
        self.sqs, self.functions, self.dynamodb = (boto3.client(name, **stack.client_settings) for name in services)
        self.environment = stack.environment
        """Environment variables that direct an AWS SDK to it."""
        self.table: str = f"breakers-{uuid.uuid4().hex}"
        """A table of breakers."""
        self.dynamodb.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )

    def close(self) -> None:
        """Close them."""
        for client in (self.sqs, self.functions, self.dynamodb):
            client.close()


class OutageOnAws:
    """A deployed function with a breaker.

    Args:
        clients: Clients of the local AWS.
        folder: An existing folder for the files of the service.
        kill_at: The step at which a process of the function ends; empty for none.
        budget: The outage budget of the breaker.
        tick: Whether the function has a queue of tick messages.
        probe: Whether the breaker has a probe function.
        fifo: Whether the queue is a FIFO queue.
    """

    def __init__(
        self,
        clients: Clients,
        folder: Path,
        *,
        kill_at: str = "",
        budget: float = LONG_BUDGET,
        tick: bool = False,
        probe: bool = False,
        fifo: bool = False,
    ) -> None:
        self.name = f"payments-{uuid.uuid4().hex[:12]}"
        self.folder, self.table = folder, clients.table
        self.sqs, self.functions, self.dynamodb = clients.sqs, clients.functions, clients.dynamodb
        (folder / "ahead").touch()
        self.is_fifo = fifo
        end, attributes = (".fifo", {"FifoQueue": "true"}) if fifo else ("", {})
        self.dead_letters = self._queue(f"dead{end}", **attributes)
        redrive = {"deadLetterTargetArn": self._arn(self.dead_letters), "maxReceiveCount": RECEIVES}
        self.work = self._queue(f"work{end}", RedrivePolicy=json.dumps(redrive), **attributes)
        self.ticks = self._queue("ticks") if tick else ""
        self.variables = {
            "BREAKER": self.name,
            "BUDGET": str(budget),
            "FANFOLD_BREAKER_QUEUE_URL": self.ticks,
            "FANFOLD_BREAKER_TABLE": self.table,
            "FANFOLD_MAX_RECEIVE_COUNT": str(RECEIVES),
            "FOLDER": str(folder),
            "HAS_PROBE": str(probe).lower(),
            "KILL_AT": kill_at,
            "PYTHONPATH": str(Path(fanfold.__file__).parents[1]),
        }
        self.deploy("app.handler")
        self.mappings = [self._map(queue) for queue in filter(None, (self.work, self.ticks))]
        self.sent = 0

    def deploy(self, handler: str) -> str:
        """Create a function; return its name."""
        name = f"{self.name}-{handler.partition('.')[0]}"
        self.functions.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/any",
            Handler=handler,
            Timeout=VISIBILITY_SECONDS,
            Environment={"Variables": self.variables},
            Code={"ZipFile": package_folder(CODE)},
        )
        return name

    def invoke(self, name: str) -> Any:
        """Invoke a function; return its response."""
        return json.loads(self.functions.invoke(FunctionName=name, Payload=b"{}")["Payload"].read())

    def send(self, count: int) -> None:
        """Send messages."""
        for first in range(0, count, 10):
            numbers = range(self.sent, self.sent + min(10, count - first))
            entries = [{"Id": str(number), "MessageBody": str(number), **self._order(number)} for number in numbers]
            self.sqs.send_message_batch(QueueUrl=self.work, Entries=entries)
            self.sent += len(entries)

    def _order(self, number: int) -> dict[str, str]:
        """Return the group of a message; only the first messages share groups, so that traffic waits for none."""
        group = number % GROUPS if number < GROUPED else number
        return {"MessageGroupId": str(group), "MessageDeduplicationId": str(number)} if self.is_fifo else {}

    def service_is_up(self) -> None:
        """End the outage."""
        (self.folder / "up").touch()

    def put_clock_forward(self, seconds: float) -> None:
        """Put the clock of the functions forward, if they use a test's clock."""
        (self.folder / "ahead.new").write_text(str(seconds))
        (self.folder / "ahead.new").replace(self.folder / "ahead")

    @property
    def is_killed(self) -> bool:
        """True after a process has ended at its step."""
        return (self.folder / "killed").exists()

    def lines(self, file: str) -> list[str]:
        """Return the lines of a file of the service: ``done``, ``failed``."""
        path = self.folder / file
        return path.read_text().splitlines() if path.exists() else []

    @property
    def missing(self) -> set[int]:
        """Messages that have not been processed so far."""
        return set(range(self.sent)) - set(map(int, self.lines("done")))

    def circuit(self) -> Circuit:
        """Return the state of the breaker."""
        keys = breaker_items.key(self.name), breaker_items.own_key(self.name)
        shared, own = (self._item(key) for key in keys)
        return breaker_items.circuit_of(shared, own)

    def pages(self) -> int:
        """Return the number of pages of held messages that are stored."""
        numbers = range(1, self.circuit().pages + 1)
        return sum(self._item(breaker_items.page_key(self.name, number)) is not None for number in numbers)

    def counts(self, url: str) -> tuple[int, int]:
        """Return the numbers of messages of a queue that are visible, and that are held or in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(attributes[names[0]]), int(attributes[names[1]])

    def is_released(self) -> bool:
        """Return whether the breaker is closed, and holds no messages."""
        circuit = self.circuit()
        return circuit.is_closed and not circuit.has_held

    def is_over(self) -> bool:
        """Return whether everything is processed, and no message is left anywhere."""
        queues = filter(None, (self.work, self.ticks))
        return not self.missing and self.is_released() and all(self.counts(url) == (0, 0) for url in queues)

    def until(self, is_met: Callable[[], bool], *, traffic: bool = False) -> None:
        """Poll until a condition is met; with traffic, send another message each second."""
        end, last = time.monotonic() + _WITHIN_SECONDS, 0.0
        while not is_met():
            now = time.monotonic()
            if now > end:
                raise TimeoutError(f"not met; missing {sorted(self.missing)}, {self.circuit()}, {self.queues()}")
            if traffic and now >= last + _TRAFFIC_SECONDS:
                last = now
                self.send(1)
            time.sleep(_POLL_SECONDS)

    def queues(self) -> dict[str, tuple[int, int]]:
        """Return the counts of all queues."""
        return {
            url.rsplit("-", 1)[1]: self.counts(url) for url in filter(None, (self.work, self.ticks, self.dead_letters))
        }

    def close(self) -> None:
        """Delete the mappings and the functions."""
        for mapping in self.mappings:
            self.functions.delete_event_source_mapping(UUID=mapping)
        for name in ("app", "api"):
            with contextlib.suppress(self.functions.exceptions.ResourceNotFoundException):
                self.functions.delete_function(FunctionName=f"{self.name}-{name}")

    def _queue(self, name: str, **attributes: str) -> str:
        attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS), **attributes}
        url: str = self.sqs.create_queue(QueueName=f"{self.name}-{name}", Attributes=attributes)["QueueUrl"]
        return url

    def _arn(self, url: str) -> str:
        response = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(response["Attributes"]["QueueArn"])

    def _map(self, url: str) -> str:
        response = self.functions.create_event_source_mapping(
            EventSourceArn=self._arn(url),
            FunctionName=f"{self.name}-app",
            BatchSize=10,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            ScalingConfig={"MaximumConcurrency": 2},
        )
        return str(response["UUID"])

    def _item(self, key: dict[str, Any]) -> dict[str, Any] | None:
        item: dict[str, Any] | None = self.dynamodb.get_item(TableName=self.table, Key=key).get("Item")
        return item


@contextmanager
def outage_on_aws(clients: Clients, folder: Path, **settings: Any) -> Iterator[OutageOnAws]:
    """Yield a deployed function with a breaker, while its service is down."""
    deployed = OutageOnAws(clients, folder, **settings)
    try:
        yield deployed
    finally:
        deployed.close()

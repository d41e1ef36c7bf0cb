"""The model of a template: queues, mappings, functions, and permissions as plain values.

A setting that the template alone does not determine has no value, and states why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from fanfold.check.unresolved import Reference, Text

T = TypeVar("T")


class Severity(StrEnum):
    """The severity of a rule."""

    ERROR = "error"
    """Messages are lost or needlessly processed twice, or AWS rejects the setting."""
    WARNING = "warning"
    """Works until load, a failure, or throttling occurs."""
    INFO = "info"
    """Worth knowing; can be right for some systems."""


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One setting of a resource."""

    name: str
    """Its name in CloudFormation, such as ``VisibilityTimeout``."""
    value: T | None
    """The value at deployment; None if it is not set and has no default, or if it is not known."""
    place: Place
    """Where the template sets it, or where it would be set."""
    stated: bool = True
    """True if the template sets it; otherwise the value is the default of AWS."""
    unknown: str = ""
    """Why it is not known; empty if it is known."""
    subject: str = ""
    """Its name in messages about unknown settings, such as ``VisibilityTimeout of Jobs``."""
    written: str = ""
    """The template's text for an unknown setting; empty if there is none."""

    @property
    def known(self) -> bool:
        """True if the value, None included, is known."""
        return not self.unknown


@dataclass(frozen=True, slots=True)
class Sender:
    """A resource through which an AWS service sends messages to a queue."""

    name: str
    """Such as ``topic Orders``."""
    service: str
    """The service principal, such as ``sns.amazonaws.com``."""
    place: Place
    admitted: Setting[bool]
    """True if a policy of the queue allows the service to send."""
    has_key: Setting[bool]
    """True if the service may use the key that encrypts the queue, or if it needs none."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue in the template, or one that a mapping reads."""

    key: str
    """Its logical id, or for a queue of another stack the template's reference to it."""
    place: Place
    fifo: Setting[bool]
    visibility: Setting[float]
    """Seconds."""
    retention: Setting[float]
    """Seconds."""
    message_bytes: Setting[float]
    """The maximum message size."""
    dead_letter_queue: Setting[str]
    """The key of its dead-letter queue."""
    receives: Setting[float]
    """``maxReceiveCount``."""
    names: tuple[Text, ...] = ()
    """Its names in ARNs and URLs of the template."""
    receives_dead_letters: bool = False
    """True if a resource of the template uses it as a dead-letter queue."""
    open_grants: tuple[Grant, ...] = ()
    """The permissions of the queue's policies for principals other than AWS services, such as a function's role."""
    senders: tuple[Sender, ...] = ()
    """The resources of the template through which AWS services send to it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The permissions that one policy statement grants."""

    actions: tuple[str, ...]
    """IAM actions, such as ``sqs:SendMessage``, with the wildcards ``*`` and ``?``."""
    resources: tuple[Text, ...]
    """ARNs; parts of them may be known only at deployment."""
    except_actions: bool = False
    """True if it grants all actions except these (``NotAction``)."""
    except_resources: bool = False
    """True if it covers all resources except these (``NotResource``)."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """The permissions of a function."""

    grants: tuple[Grant, ...] = ()
    doubts: tuple[str, ...] = ()
    """Reasons why it may have more permissions than ``grants``."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable of a function."""

    setting: Setting[str]
    reference: Reference | None
    """The reference that makes up its whole value, such as ``Jobs.Arn``; None for any other value."""


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function."""

    key: str
    place: Place
    timeout: Setting[float]
    """Seconds."""
    memory: Setting[float]
    """MB."""
    reserved: Setting[float]
    """Reserved concurrency."""
    recursive_loop: Setting[str]
    concurrency: Setting[float]
    """``FANFOLD_CONCURRENCY`` in its environment; None if it is not set, or ``auto``."""
    managed_instances: Setting[bool]
    """True if it runs on Lambda Managed Instances."""
    processes: Setting[float]
    """Processes that share its memory: concurrent invocations in one execution environment; 1 on ordinary Lambda."""
    isolation: Setting[str]
    """The tenant isolation mode; None if not set."""
    durable_timeout: Setting[float]
    """Seconds that a durable execution may take; None if the function is not durable."""
    dead_letter_queue: Setting[str]
    """The key of the queue for events of asynchronous invocations that failed; None if there is none."""
    uses_fanfold: bool = False
    """True if its environment has variables of fanfold."""
    queues: Mapping[str, str] = field(default_factory=dict)
    """Keys of the queues that fanfold's variables refer to, by variable."""
    permissions: Permissions = Permissions()
    other_triggers: bool = False
    """True if something other than an SQS mapping invokes it."""
    variables: tuple[Variable, ...] = ()
    """Its environment variables; if the whole environment is not known, one of that name."""
    architectures: Setting[tuple[str, ...]] | None = None
    """Its instruction set: ``x86_64`` or ``arm64``; empty for the default, ``x86_64``."""
    runtime: Setting[Text] | None = None
    """Its runtime, such as ``python3.13``."""


@dataclass(frozen=True, slots=True)
class EventMapping:
    """An event source mapping from a queue to a function."""

    key: str
    """Its logical id, or ``Function.Event`` for an event of a SAM function."""
    place: Place
    queue: str
    """Key of a queue of the model."""
    function: str | None
    """Key of a function of the model; None if the function is not in the template."""
    function_name: str
    """The function's name in messages."""
    batch_size: Setting[float]
    window: Setting[float]
    """Seconds."""
    response_types: Setting[tuple[str, ...]]
    maximum_concurrency: Setting[float]
    provisioned: Setting[bool]
    """True if it uses provisioned mode."""
    minimum_pollers: Setting[float]
    """In provisioned mode; the default is AWS's, also in other modes."""
    maximum_pollers: Setting[float]
    """In provisioned mode; the default is AWS's, also in other modes."""
    enabled: Setting[bool]
    filtered: Setting[bool]
    """True if it has filter criteria."""
    filters: Setting[list[Any]]
    """The list of filters, with functions evaluated; None if there are none."""
    exists: Setting[bool]
    """True if it is deployed, according to its ``Condition``."""
    asynchronous: Setting[bool]
    """True if it does not wait for the result of its target, as some pipes do."""
    stream_settings: tuple[Setting[bool], ...] = ()
    """Properties that are only for streams and brokers; true if it sets them."""
    pipe: bool = False
    """True if it is an EventBridge pipe instead of a mapping."""
    permissions: Permissions = Permissions()
    """The permissions of the role that polls the queue: the role of the function, or of the pipe."""
    poller: str = ""
    """The name of the resource with that role; empty if it is not in the template."""


@dataclass(frozen=True, slots=True)
class NotKnown:
    """A value that a rule needs, and that the template does not determine."""

    subject: str
    """The name of the value, such as ``Timeout of Work``."""
    why: str
    place: Place
    rules: tuple[str, ...] = ()
    """Ids of the rules that were not checked because of it; empty for a remark on the template."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A problem that a rule has found, before it becomes a ``Finding`` of that rule."""

    resource: str
    place: Place
    actual: str
    recommended: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting that breaks a rule."""

    rule: str
    severity: Severity
    resource: str
    """The mapping, queue, or function with the problem."""
    place: Place
    actual: str
    """The setting and its value, and the effect if it is not obvious."""
    recommended: str
    """The value to set instead, or the change to make."""

    @property
    def owner(self) -> str:
        """The logical id of the resource at this place."""
        return str(self.place.path[1]) if len(self.place.path) > 1 else self.resource


@dataclass(frozen=True, slots=True)
class Model:
    """The input of the rules."""

    queues: Mapping[str, Queue] = field(default_factory=dict)
    mappings: tuple[EventMapping, ...] = ()
    """The event source mappings of Lambda."""
    functions: Mapping[str, Function] = field(default_factory=dict)
    remarks: tuple[NotKnown, ...] = ()
    """Parts of the template that could not be read."""
    pipes: tuple[EventMapping, ...] = ()
    """The EventBridge pipes that read a queue."""
    outage_seconds: float | None = None
    """Length of an outage that queues have to survive; None if the user has stated none."""

    @property
    def readers(self) -> tuple[EventMapping, ...]:
        """The mappings and the pipes."""
        return self.mappings + self.pipes


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a template."""

    path: tuple[str | int, ...]
    """Keys from the root of the template, with ``Globals`` merged in."""
    line: int = 1
    """From 1."""
    column: int = 1
    """From 1."""
    end_line: int = 1
    end_column: int = 1

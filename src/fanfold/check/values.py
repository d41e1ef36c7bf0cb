"""What a template says about queues, mappings, functions and permissions, as plain values.

A setting that cannot be known from the template alone says why; nothing stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from fanfold.check.unresolved import Text

T = TypeVar("T")


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Messages are lost, or worked on twice without need, or AWS refuses the setting."""
    WARNING = "warning"
    """It goes well until there is load, a fault or a throttle."""
    INFO = "info"
    """Worth knowing; right in some systems."""


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One setting."""

    name: str
    """CloudFormation's word, such as ``VisibilityTimeout``."""
    value: T | None
    """What holds at deployment; None when it is not set and has no default, or when it is not known."""
    place: Place
    """Where it is said; where it should be said, if it is not."""
    stated: bool = True
    """Whether the template says it; otherwise the value is AWS's own default."""
    unknown: str = ""
    """Why it cannot be known; empty if it is."""
    subject: str = ""
    """What to call it when it is not known, such as ``VisibilityTimeout of Jobs``."""
    written: str = ""
    """What stands in the template when it is not known; empty if nothing does."""

    @property
    def known(self) -> bool:
        """Whether the value, None included, is what will hold."""
        return not self.unknown


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that a mapping reads, or that is in the template."""

    key: str
    """Its logical id, or for a queue of another stack what the template calls it."""
    place: Place
    fifo: Setting[bool]
    visibility: Setting[float]
    """Seconds."""
    retention: Setting[float]
    """Seconds."""
    message_bytes: Setting[float]
    """The largest message it takes."""
    dead_letter_queue: Setting[str]
    """The key of its dead-letter queue."""
    receives: Setting[float]
    """``maxReceiveCount``."""
    names: tuple[Text, ...] = ()
    """What its name is in ARNs and URLs of the template."""
    receives_dead_letters: bool = False
    """Whether something in the template sends dead letters to it."""
    open_policy: bool = False
    """Whether a queue policy allows something to principals that are no AWS service."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one statement of a policy allows."""

    actions: tuple[str, ...]
    """Such as ``sqs:SendMessage``; ``*`` and ``?`` stand for anything."""
    resources: tuple[Text, ...]
    """ARNs, of which parts may be known at deployment only."""
    except_actions: bool = False
    """Whether it allows all but these actions (``NotAction``)."""
    except_resources: bool = False
    """Whether it allows all but these resources (``NotResource``)."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a function may do."""

    grants: tuple[Grant, ...] = ()
    doubts: tuple[str, ...] = ()
    """Why it may be allowed more than the grants say."""


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
    """``FANFOLD_CONCURRENCY`` of its environment."""
    uses_fanfold: bool = False
    """Whether its environment speaks to fanfold."""
    queues: Mapping[str, str] = field(default_factory=dict)
    """Keys of the queues that fanfold's variables name, by variable."""
    permissions: Permissions = Permissions()
    other_triggers: bool = False
    """Whether something besides SQS mappings calls it."""


@dataclass(frozen=True, slots=True)
class EventMapping:
    """An event source mapping from a queue to a function."""

    key: str
    """Logical id; for an event of a SAM function ``Function.Event``."""
    place: Place
    queue: str
    """Key of a queue of the model."""
    function: str | None
    """Key of a function of the model; None for one that is not in the template."""
    function_name: str
    """What the template calls the function."""
    batch_size: Setting[float]
    window: Setting[float]
    """Seconds."""
    response_types: Setting[tuple[str, ...]]
    maximum_concurrency: Setting[float]
    provisioned: Setting[bool]
    """Whether it has pollers of its own (provisioned mode)."""
    enabled: Setting[bool]
    filtered: Setting[bool]
    """Whether it has filter criteria."""
    exists: Setting[bool]
    """Whether it is deployed at all, as its ``Condition`` says."""


@dataclass(frozen=True, slots=True)
class NotKnown:
    """Something a rule wanted to know and could not."""

    subject: str
    why: str
    place: Place
    rules: tuple[str, ...] = ()
    """What was not looked at because of it; empty for a remark on the whole template."""


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
    """The mapping, queue or function it is about."""
    place: Place
    actual: str
    """The setting and its value, and the effect if it is not obvious."""
    recommended: str
    """The value to set instead, or the change to make."""

    @property
    def owner(self) -> str:
        """The logical id that it is said in."""
        return str(self.place.path[1]) if len(self.place.path) > 1 else self.resource


@dataclass(frozen=True, slots=True)
class Model:
    """All that the rules look at."""

    queues: Mapping[str, Queue] = field(default_factory=dict)
    mappings: tuple[EventMapping, ...] = ()
    functions: Mapping[str, Function] = field(default_factory=dict)
    remarks: tuple[NotKnown, ...] = ()
    """What of the template could not be looked at."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a template something is said."""

    path: tuple[str | int, ...]
    """Keys from the top of the template, after ``Globals`` are merged in."""
    line: int = 1
    """From 1."""
    column: int = 1
    """From 1."""
    end_line: int = 1
    end_column: int = 1

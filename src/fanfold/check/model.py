"""The model of a template: its queues, the mappings that read them, and the functions these call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fanfold.check.intrinsics import IntrinsicError, Scope
from fanfold.check.properties import Properties, mapping_of
from fanfold.check.reading import Template
from fanfold.check.roles import Roles
from fanfold.check.sam import Plain, translate
from fanfold.check.values import EventMapping, Function, Model, NotKnown, Queue, Setting
from fanfold.errors import ConfigurationError

__all__ = ["model_of"]

_SQS: Final = "AWS::SQS::Queue"
_MAPPING: Final = "AWS::Lambda::EventSourceMapping"
_FUNCTIONS: Final = ("AWS::Lambda::Function", "AWS::Serverless::Function")
_NESTED: Final = ("AWS::CloudFormation::Stack", "AWS::Serverless::Application")
_OF_OTHER_SOURCES: Final = ("StartingPosition", "Topics", "Queues", "SelfManagedEventSource")
_DEAD_LETTERS: Final = ("deadLetterTargetArn", "DeadLetterConfig", "DeadLetterQueue", "OnFailure")
_SYMBOL: Final = re.compile(r"\$\{([^}]+?)(\.[^}]+)?\}")

# What AWS takes when a template says nothing: CloudFormation's reference of each resource.
_VISIBILITY_SECONDS: Final = 30
_RETENTION_SECONDS: Final = 345_600
_MESSAGE_BYTES: Final = 1_048_576
_TIMEOUT_SECONDS: Final = 3
_MEMORY_MB: Final = 128
_BATCH: Final = 10


def model_of(template: Template, given: Mapping[str, str] | None = None) -> tuple[Model, Scope]:
    """Return what a template says, and what it was worked out with.

    Args:
        template: The template.
        given: Values of parameters; the others count with their defaults.

    Raises:
        ConfigurationError: If a function in it is malformed.
        MissingExtraError: If the SAM translator is needed and not installed.
    """
    plain = translate(template.resources, template.section("Conditions"))
    scope = Scope(
        parameters=template.section("Parameters"),
        given=given or {},
        mappings=template.section("Mappings"),
        conditions=plain.conditions,
        resources=plain.resources,
    )
    return _Builder(template, scope, plain).model(), scope


class _Builder:
    def __init__(self, template: Template, scope: Scope, plain: Plain) -> None:
        self._template = template
        self._scope = scope
        self._plain = plain
        self._exists = {name: self._existence(name, each) for name, each in plain.resources.items()}
        self._queues = {name: self._queue(name) for name in self._of(_SQS)}
        self._roles = Roles(scope, {name: plain.resources[name] for name in self._of(None)}, self._exists)

    def model(self) -> Model:
        """Return the model."""
        dead = set(self._dead_letter_queues())
        opened = set(self._queues_with_open_policies())
        for name, queue in self._queues.items():
            self._queues[name] = replace(queue, receives_dead_letters=name in dead, open_policy=name in opened)
        functions = {name: self._function(name) for name in self._of(*_FUNCTIONS)}
        mappings = tuple(self._mapping(name, functions) for name in self._sqs_mappings())
        return Model(self._queues, mappings, functions, tuple(self._remarks()))

    # ---- resources ---------------------------------------------------------------------------------------------------
    def _of(self, *kinds: str | None) -> Iterator[str]:
        """Yield the resources of some kinds (None for all) that may exist."""
        for name, resource in self._plain.resources.items():
            if (None in kinds or resource.get("Type") in kinds) and self._exists[name].value is not False:
                yield name

    def _existence(self, name: str, resource: Mapping[str, Any]) -> Setting[bool]:
        origin = self._plain.origins.get(name, ("Resources", name))
        place = self._template.place((*origin[:2], "Condition"))
        label = _label(name, self._plain)
        found: Setting[bool] = Setting("Condition", True, place, stated=False, subject=f"whether {label} exists")  # noqa: FBT003 - a value
        if resource.get("Condition") is None:
            return found
        try:
            truth = self._scope.condition(resource["Condition"])
        except IntrinsicError as error:
            raise ConfigurationError(f"{self._template.name}:{place.line} {name}: {error}") from error
        if truth is None:
            return replace(found, value=None, unknown=self._scope.why_condition(resource["Condition"]))
        return replace(found, value=truth)

    def _properties(self, name: str, label: str = "") -> Properties:
        path = self._plain.origins.get(name, ("Resources", name, "Properties"))
        content = mapping_of(self._plain.resources[name].get("Properties"))
        return Properties(self._template, self._scope, label or name, content, path)

    # ---- queues ------------------------------------------------------------------------------------------------------
    def _queue(self, name: str) -> Queue:
        properties = self._properties(name)
        called = properties.text("QueueName")
        fifo = properties.flag("FifoQueue", default=False)
        if fifo.known and not fifo.value and (called.value or "").endswith(".fifo"):
            fifo = replace(fifo, value=True)
        target, receives = self._redrive(properties)
        generated = f"${{AWS::StackName}}-{name}-…"
        return Queue(
            key=name,
            place=self._template.place(("Resources", name)),
            fifo=fifo,
            visibility=properties.number("VisibilityTimeout", _VISIBILITY_SECONDS),
            retention=properties.number("MessageRetentionPeriod", _RETENTION_SECONDS),
            message_bytes=properties.number("MaximumMessageSize", _MESSAGE_BYTES),
            dead_letter_queue=target,
            receives=receives,
            names=(f"${{{name}.QueueName}}", called.value or generated),
        )

    def _redrive(self, properties: Properties) -> tuple[Setting[str], Setting[float]]:
        whole = properties.value("RedrivePolicy")
        if isinstance(whole.value, str) and not whole.value.startswith("${"):
            policy = replace(properties, path=(*properties.path, "RedrivePolicy"))  # JSON: no line of its own inside
            try:
                policy = replace(policy, content=mapping_of(json.loads(whole.value)))
            except ValueError:
                policy = replace(policy, unknown=self._scope.why(whole.value) or "it is no JSON")
        else:
            policy = properties.inside("RedrivePolicy")
        return policy.text("deadLetterTargetArn"), policy.number("maxReceiveCount")

    def _key_of(self, text: str) -> str:
        """Return the key of the queue that an ARN, URL or name of the template means; the text itself if it is none."""
        found = _SYMBOL.fullmatch(text)
        if found and found[1] in self._queues and found[2] in {None, ".Arn", ".QueueUrl"}:
            return found[1]
        name = _ending(text)
        return next((key for key, queue in self._queues.items() if name in queue.names), text)

    def _outside(self, key: str, asked: Setting[str]) -> Queue:
        """Return a queue that is not in the template: of it only the kind may be known, by the end of its name."""
        ending = _ending(key)
        unknown = self._scope.why(ending) or f"{ending} is not in this template"
        subject = f"the queue of {asked.subject.partition(' of ')[2]}"
        nothing: Setting[Any] = replace(asked, value=None, unknown=unknown, subject=subject)
        kind: Setting[bool] = nothing
        if ending.endswith(".fifo") or not ending.endswith("}"):
            kind = Setting("FifoQueue", ending.endswith(".fifo"), asked.place)
        return Queue(key, asked.place, kind, nothing, nothing, nothing, nothing, nothing, names=(ending,), outside=True)

    def _dead_letter_queues(self) -> Iterator[str]:
        """Yield the queues that anything in the template sends dead letters to."""
        for name in self._of(None):
            for target in _targets(self._plain.resources[name].get("Properties")):
                try:
                    resolved = self._scope.resolve(target)
                except IntrinsicError:
                    continue
                for text in _texts_in(resolved):
                    yield self._key_of(text)
        for name, queue in self._queues.items():
            if queue.dead_letter_queue.value:
                key = self._key_of(queue.dead_letter_queue.value)
                self._queues[name] = replace(queue, dead_letter_queue=replace(queue.dead_letter_queue, value=key))
                yield key
            if "RedriveAllowPolicy" in self._properties(name).content:
                yield name

    def _queues_with_open_policies(self) -> Iterator[str]:
        for name in self._of("AWS::SQS::QueuePolicy"):
            properties = self._properties(name)
            if self._roles.allows_accounts(properties.value("PolicyDocument").value):
                for text in _texts_in(properties.value("Queues").value):
                    yield self._key_of(text)

    # ---- functions ---------------------------------------------------------------------------------------------------
    def _function(self, name: str) -> Function:
        properties = self._properties(name)
        variables = properties.inside("Environment").inside("Variables")
        ours = [str(each) for each in variables.content if str(each).startswith("FANFOLD_")]
        queues = {}
        for variable in ours:
            named = variables.text(variable) if variable.endswith("QUEUE_URL") else None
            if named is not None and named.value:
                queues[variable] = self._key_of(named.value)
                self._queues.setdefault(queues[variable], self._outside(queues[variable], named))
        role = properties.text("Role")
        fault = self._plain.faults.get(name, "")
        permissions = self._roles.permissions(role.value or "")
        if fault:
            permissions = replace(permissions, doubts=(f"SAM cannot translate it: {fault}", *permissions.doubts))
        return Function(
            key=name,
            place=self._template.place(("Resources", name)),
            timeout=properties.number("Timeout", _TIMEOUT_SECONDS),
            memory=properties.number("MemorySize", _MEMORY_MB),
            reserved=properties.number("ReservedConcurrentExecutions"),
            recursive_loop=properties.text("RecursiveLoop", "Terminate"),
            concurrency=variables.number("FANFOLD_CONCURRENCY"),
            uses_fanfold=bool(ours),
            queues=queues,
            permissions=permissions,
            other_triggers=self._has_other_triggers(name, properties),
        )

    def _has_other_triggers(self, name: str, properties: Properties) -> bool:
        events = mapping_of(properties.content.get("Events")).values()
        if "FunctionUrlConfig" in properties.content or any(mapping_of(event).get("Type") != "SQS" for event in events):
            return True
        for other in self._of("AWS::Lambda::Permission", "AWS::Lambda::Url"):
            found = self._properties(other)
            asked = found.text("FunctionName" if "FunctionName" in found.content else "TargetFunctionArn")
            if self._function_of(asked.value or "") == name:
                return True
        sqs = set(self._sqs_mappings())
        return any(
            self._function_of(self._properties(other).text("FunctionName").value or "") == name
            for other in self._of(_MAPPING)
            if other not in sqs
        )

    def _function_of(self, text: str) -> str | None:
        """Return the function of the template that a name, ARN or alias means; None if it is none."""
        for symbol in _SYMBOL.finditer(text):
            found = self._function_behind(symbol[1])
            if found is not None:
                return found
        for name in self._of(*_FUNCTIONS):
            called = self._properties(name).text("FunctionName").value
            if called and called in {text, re.split(r":function:", text)[-1].partition(":")[0]}:
                return name
        return None

    def _function_behind(self, name: str) -> str | None:
        """Return the function that a logical id stands for: its own, or that of an alias or version."""
        resource = self._plain.resources.get(name)
        if resource is None:
            owners = (each for each in self._of(*_FUNCTIONS) if name.startswith(f"{each}Alias"))
            return max(owners, key=len, default=None)
        if resource["Type"] in _FUNCTIONS:
            return name
        if resource["Type"] in {"AWS::Lambda::Alias", "AWS::Lambda::Version"}:
            behind = self._properties(name).text("FunctionName").value or ""
            return None if f"${{{name}" in behind else self._function_of(behind)
        return None

    # ---- mappings ----------------------------------------------------------------------------------------------------
    def _sqs_mappings(self) -> Iterator[str]:
        for name in self._of(_MAPPING):
            properties = self._properties(name)
            if any(each in properties.content for each in _OF_OTHER_SOURCES):
                continue
            source = properties.text("EventSourceArn").value
            if source is not None and self._may_be_a_queue(source):
                yield name

    def _may_be_a_queue(self, source: str) -> bool:
        if self._key_of(source) in self._queues or ":sqs:" in source:
            return True
        if source.startswith("arn:"):
            return False
        found = _SYMBOL.search(source)
        resource = self._plain.resources.get(found[1]) if found else None
        return found is not None and (resource is None or resource["Type"] in _NESTED)

    def _mapping(self, name: str, functions: Mapping[str, Function]) -> EventMapping:
        label = _label(name, self._plain)
        properties = self._properties(name, label)
        source, target = properties.text("EventSourceArn"), properties.text("FunctionName")
        if name in self._plain.origins:  # SAM's word for it
            source = replace(source, place=self._template.place((*properties.path, "Queue")))
        key = self._key_of(source.value or "")
        if key not in self._queues:
            self._queues[key] = self._outside(key, source)
        function = self._function_of(target.value or "")
        pollers = mapping_of(properties.content.get("ProvisionedPollerConfig"))
        return EventMapping(
            key=label,
            place=self._template.place(properties.path[:-1]),
            queue=key,
            function=function if function in functions else None,
            function_name=function or target.value or "a function that is not named",
            batch_size=properties.number("BatchSize", _BATCH),
            window=properties.number("MaximumBatchingWindowInSeconds", 0),
            response_types=properties.texts("FunctionResponseTypes"),
            maximum_concurrency=properties.inside("ScalingConfig").number("MaximumConcurrency"),
            provisioned=self._presence(properties, "ProvisionedPollerConfig", stated=bool(pollers)),
            enabled=properties.flag("Enabled", default=True),
            filtered=self._presence(properties, "FilterCriteria", stated=True),
            exists=self._exists[name],
        )

    def _presence(self, properties: Properties, name: str, *, stated: bool) -> Setting[bool]:
        """Return whether a property that is an object is set."""
        found = properties.value(name)
        why = found.unknown or (self._scope.why(found.value) if isinstance(found.value, str) else "")
        return replace(found, value=None if why else bool(found.value) and stated, unknown=why)

    # ---- remarks -----------------------------------------------------------------------------------------------------
    def _remarks(self) -> Iterator[NotKnown]:
        for macro in self._template.macros:
            place = self._template.place(("Transform",))
            yield NotKnown("what the template becomes", f"the macro {macro} may change it at deployment", place)
        for name in self._of(*_NESTED):
            place = self._template.place(("Resources", name))
            yield NotKnown(f"what {name} holds", "it is a stack of its own: check its template too", place)
        for name, fault in self._plain.faults.items():
            if "SQS" in _texts_in(self._template.resources.get(name, {"Type": "SQS"})):
                place = self._template.place(("Resources", name))
                yield NotKnown(f"what becomes of {name}", f"SAM cannot translate it: {fault}", place)


def _ending(text: str) -> str:
    """Return what is behind the last colon or slash of an ARN or URL, those inside ``${…}`` aside."""
    return re.split(r"[:/](?![^{]*\})", text)[-1]


def _label(name: str, plain: Plain) -> str:
    """Return what to call a resource: for one that SAM makes of an event ``Function.Event``."""
    origin = plain.origins.get(name, ())
    return f"{origin[1]}.{origin[4]}" if "Events" in origin else name


def _targets(value: Any) -> Iterator[Any]:
    """Yield what stands under a key that names where dead letters go."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in _DEAD_LETTERS:
                yield each
            else:
                yield from _targets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _targets(each)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(each)

"""The functions of a template, by whatever name it calls them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from fanfold._base import aws_limits
from fanfold.check.permissions import Roles
from fanfold.check.queues import Queues
from fanfold.check.resources import Resources, mapping_of
from fanfold.check.unresolved import Text, references
from fanfold.check.values import Function

MAPPING: Final = "AWS::Lambda::EventSourceMapping"
_KINDS: Final = ("AWS::Lambda::Function", "AWS::Serverless::Function")
_STANDING_FOR: Final = ("AWS::Lambda::Alias", "AWS::Lambda::Version")
_MOST_STEPS: Final = 4  # alias, version, function


class Functions:
    """The functions."""

    def __init__(self, resources: Resources, queues: Queues) -> None:
        self._resources = resources
        self._queues = queues
        self._names = list(resources.of(*_KINDS))
        called = {name: resources.properties(name).text("FunctionName").value for name in self._names}
        self._called = {text: name for name, text in called.items() if text}
        plain = {name: resources.plain.resources[name] for name in resources.of()}
        self._roles = Roles(resources.scope, plain, resources.exists)

    def by_key(self, sqs_mappings: Collection[str]) -> dict[str, Function]:
        """Return the functions by logical id.

        Args:
            sqs_mappings: Logical ids of the mappings of queues; any other one is another trigger.
        """
        triggered = set(self._triggered(sqs_mappings))
        return {name: self._function(name, other_triggers=name in triggered) for name in self._names}

    def key_of(self, text: Text, steps: int = _MOST_STEPS) -> str | None:
        """Return the function of the template that a name, ARN or alias means; None if it is none."""
        for reference in references(text):
            found = self._behind(reference.resource, steps)
            if found is not None:
                return found
        return self._called.get(text) or self._called.get(str(text).rpartition(":function:")[2].partition(":")[0])

    def _behind(self, name: str, steps: int) -> str | None:
        """Return the function that a logical id stands for: its own, or that of an alias or version."""
        kind = self._resources.kind(name)
        if not kind:  # SAM's AutoPublishAlias gives FunctionAliaslive
            return max((each for each in self._names if name.startswith(f"{each}Alias")), key=len, default=None)
        if kind in _STANDING_FOR and steps:
            return self.key_of(self._resources.properties(name).text("FunctionName").value or "", steps - 1)
        return name if name in self._names else None

    def _function(self, name: str, *, other_triggers: bool) -> Function:
        properties = self._resources.properties(name)
        variables = properties.inside("Environment").inside("Variables")
        ours = [str(each) for each in variables.content if str(each).startswith("FANFOLD_")]
        urls = {each: variables.text(each) for each in ours if each.endswith("QUEUE_URL")}
        permissions = self._roles.permissions(properties.text("Role").value or "")
        fault = self._resources.plain.faults.get(name)
        if fault:
            permissions = replace(permissions, doubts=(f"SAM cannot translate it: {fault}", *permissions.doubts))
        return Function(
            key=name,
            place=self._resources.place(name),
            timeout=properties.number("Timeout", aws_limits.LAMBDA_DEFAULT_TIMEOUT_SECONDS),
            memory=properties.number("MemorySize", aws_limits.LAMBDA_DEFAULT_MEMORY_MB),
            reserved=properties.number("ReservedConcurrentExecutions"),
            recursive_loop=properties.word("RecursiveLoop", "Terminate"),
            concurrency=variables.number("FANFOLD_CONCURRENCY"),
            uses_fanfold=bool(ours),
            queues={variable: self._queues.key_met(url) for variable, url in urls.items() if url.value},
            permissions=permissions,
            other_triggers=other_triggers,
        )

    def _triggered(self, sqs_mappings: Collection[str]) -> Iterator[str | None]:
        """Yield the functions that something besides a mapping of a queue calls."""
        for name in self._names:
            content = self._resources.properties(name).content
            events = mapping_of(content.get("Events")).values()
            if "FunctionUrlConfig" in content or any(mapping_of(event).get("Type") != "SQS" for event in events):
                yield name
        for other in self._resources.of("AWS::Lambda::Permission", "AWS::Lambda::Url", MAPPING):
            if other not in sqs_mappings:
                found = self._resources.properties(other)
                word = "FunctionName" if "FunctionName" in found.content else "TargetFunctionArn"
                yield self.key_of(found.text(word).value or "")

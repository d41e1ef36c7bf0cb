"""The functions of a template, found by logical id, name, ARN, or alias."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final, cast

from fanfold._base import aws_limits
from fanfold.check.permissions import Roles
from fanfold.check.queues import Queues
from fanfold.check.resources import Properties, Resources, mapping_of
from fanfold.check.unresolved import Text, references, sole
from fanfold.check.values import Function, Permissions, Setting, Variable

MAPPING: Final = "AWS::Lambda::EventSourceMapping"
_KINDS: Final = ("AWS::Lambda::Function", "AWS::Serverless::Function")
_ALIASES: Final = ("AWS::Lambda::Alias", "AWS::Lambda::Version")
_MAX_STEPS: Final = 4  # alias, version, function


class Functions:
    """The functions of a template."""

    def __init__(self, resources: Resources, queues: Queues) -> None:
        self._resources = resources
        self._queues = queues
        self._keys = list(resources.of(*_KINDS))
        names = {key: resources.properties(key).text("FunctionName").value for key in self._keys}
        self._key_by_name = {name: key for key, name in names.items() if name}
        deployed = {key: resources.translated.resources[key] for key in resources.of()}
        self._roles = Roles(resources.scope, deployed, resources.exists)

    def by_key(self, sqs_mappings: Collection[str]) -> dict[str, Function]:
        """Return the functions by logical id.

        Args:
            sqs_mappings: Logical ids of the SQS mappings; any other mapping counts as another trigger.
        """
        triggered = set(self._triggered(sqs_mappings))
        return {key: self._function(key, other_triggers=key in triggered) for key in self._keys}

    def key_of(self, text: Text, steps: int = _MAX_STEPS) -> str | None:
        """Return the logical id of the function that a name, ARN, or alias refers to; None if it is none of these."""
        for reference in references(text):
            key = self._resolve(reference.resource, steps)
            if key is not None:
                return key
        name = str(text).rpartition(":function:")[2].partition(":")[0]
        return self._key_by_name.get(text) or self._key_by_name.get(name)

    def _resolve(self, name: str, steps: int) -> str | None:
        """Return the function that a logical id refers to, directly or through an alias or version."""
        kind = self._resources.kind(name)
        if not kind:  # SAM's AutoPublishAlias creates FunctionAliaslive
            return max((key for key in self._keys if name.startswith(f"{key}Alias")), key=len, default=None)
        if kind in _ALIASES and steps:
            return self.key_of(self._resources.properties(name).text("FunctionName").value or "", steps - 1)
        return name if name in self._keys else None

    def _function(self, key: str, *, other_triggers: bool) -> Function:
        properties = self._resources.properties(key)
        variables = properties.inside("Environment").inside("Variables")
        fanfold_names = [str(name) for name in variables.content if str(name).startswith("FANFOLD_")]
        urls = {name: variables.text(name) for name in fanfold_names if name.endswith("QUEUE_URL")}
        permissions = self.permissions(properties.text("Role").value or "")
        provider = properties.inside("CapacityProviderConfig")
        memory = properties.number("MemorySize", aws_limits.LAMBDA_DEFAULT_MEMORY_MB)
        error = self._resources.translated.errors.get(key)
        if error:
            permissions = replace(permissions, doubts=(f"SAM cannot translate it: {error}", *permissions.doubts))
        return Function(
            key=key,
            place=self._resources.place(key),
            timeout=properties.number("Timeout", aws_limits.LAMBDA_DEFAULT_TIMEOUT_SECONDS),
            memory=memory,
            reserved=properties.number("ReservedConcurrentExecutions"),
            recursive_loop=properties.choice("RecursiveLoop", "Terminate"),
            concurrency=_concurrency(variables),
            managed_instances=properties.presence("CapacityProviderConfig"),
            processes=_processes(provider, memory),
            isolation=properties.inside("TenancyConfig").optional_choice("TenantIsolationMode"),
            durable_timeout=properties.inside("DurableConfig").number("ExecutionTimeout"),
            dead_letter_queue=self._dead_letter_queue(properties),
            uses_fanfold=bool(fanfold_names),
            queues={variable: self._queues.resolve(url) for variable, url in urls.items() if url.value},
            permissions=permissions,
            other_triggers=other_triggers,
            variables=tuple(_variables(variables)),
            architectures=properties.texts("Architectures"),
            runtime=properties.text("Runtime"),
        )

    def permissions(self, role: Text) -> Permissions:
        """Return what a role allows.

        Args:
            role: The role's ARN as written in the template.
        """
        return self._roles.permissions(role)

    def _dead_letter_queue(self, properties: Properties) -> Setting[str]:
        """Return the queue for events of asynchronous invocations that failed; SAM has its own name for it."""
        name = "DeadLetterQueue" if "DeadLetterQueue" in properties.content else "DeadLetterConfig"
        target = properties.inside(name).text("TargetArn")
        return replace(cast("Setting[str]", target), value=self._queues.key_of(target.value) if target.value else None)

    def _triggered(self, sqs_mappings: Collection[str]) -> Iterator[str | None]:
        """Yield the functions that something other than an SQS mapping invokes."""
        for key in self._keys:
            content = self._resources.properties(key).content
            events = mapping_of(content.get("Events")).values()
            if "FunctionUrlConfig" in content or any(mapping_of(event).get("Type") != "SQS" for event in events):
                yield key
        for other in self._resources.of("AWS::Lambda::Permission", "AWS::Lambda::Url", MAPPING):
            if other not in sqs_mappings:
                properties = self._resources.properties(other)
                name = "FunctionName" if "FunctionName" in properties.content else "TargetFunctionArn"
                yield self.key_of(properties.text(name).value or "")


def _variables(variables: Properties) -> Iterator[Variable]:
    """Yield the environment variables; if they are not known as a whole, one that states why."""
    if variables.unknown:
        yield Variable(variables.choice("Variables", ""), None)
    for name in map(str, variables.content):
        text = variables.text(name).value
        if text is not None:
            yield Variable(variables.choice(name, ""), sole(text))


def _processes(provider: Properties, memory: Setting[float]) -> Setting[float]:
    """Return the concurrent invocations of one execution environment of Managed Instances, each in its own process.

    The default is 16 for each vCPU, and the number of vCPUs follows from the memory (Lambda developer guide, "Python
    runtime for Lambda Managed Instances").
    """
    if not provider.content:
        return replace(memory, value=None if provider.unknown else 1.0, unknown=provider.unknown)
    nested = provider.inside("LambdaManagedInstancesCapacityProviderConfig")
    provider = nested if nested.content else provider  # SAM has one level less
    processes = provider.number("PerExecutionEnvironmentMaxConcurrency")
    if processes.unknown or processes.value is not None:
        return processes
    ratio = provider.number("ExecutionEnvironmentMemoryGiBPerVCpu", aws_limits.MANAGED_INSTANCES_GIB_PER_VCPU)
    if unknown := ratio.unknown or memory.unknown:
        return replace(processes, unknown=unknown)
    cpus = max(1.0, (memory.value or 0) / 1024 / (ratio.value or 1))
    return replace(processes, value=float(int(cpus * aws_limits.MANAGED_INSTANCES_PROCESSES_PER_VCPU)))


def _concurrency(variables: Properties) -> Setting[float]:
    """Return ``FANFOLD_CONCURRENCY``; ``auto`` is not a fixed number, so it counts as not set."""
    setting = variables.value("FANFOLD_CONCURRENCY")
    if isinstance(setting.value, str) and setting.value.strip().lower() == "auto":
        return replace(setting, value=None)
    return variables.number("FANFOLD_CONCURRENCY")

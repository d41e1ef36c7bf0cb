"""The model of a template: its queues, the mappings that read them, and the functions these call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from fanfold._base import aws_limits
from fanfold.check.functions import MAPPING, Functions
from fanfold.check.intrinsics import Scope
from fanfold.check.queues import Queues
from fanfold.check.reading import Template, read_template
from fanfold.check.resources import Properties, Resources, mapping_of, texts_in
from fanfold.check.sam import translate
from fanfold.check.unresolved import Unresolved, references
from fanfold.check.values import EventMapping, Function, Model, NotKnown, Setting
from fanfold.errors import ConfigurationError

_NESTED: Final = ("AWS::CloudFormation::Stack", "AWS::Serverless::Application")
_OF_OTHER_SOURCES: Final = ("StartingPosition", "Topics", "Queues", "SelfManagedEventSource")


def read_model(file: Path, given: Mapping[str, str] | None = None) -> tuple[Template, Model, Scope]:
    """Read a template file: SAM or CloudFormation, YAML or JSON, such as the AWS CDK writes.

    Args:
        file: The template.
        given: Values of parameters; the others count with their defaults.

    Raises:
        ConfigurationError: If the file cannot be read or is no template, if a function in it is malformed, or if a
            parameter has a value that it does not allow.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    template = read_template(file)
    _look_at_values(template, given or {})
    try:
        return template, *model_of(template, given)
    except RecursionError as error:
        raise ConfigurationError(f"{file} is nested too deeply") from error


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
    resources = Resources(template, scope, plain)
    queues = Queues(resources)
    names = list(_sqs_mappings(resources, queues))
    functions = Functions(resources, queues)
    by_key = functions.by_key(names)
    mappings = tuple(_mapping(name, resources, queues, functions, by_key) for name in names)
    return Model(queues.by_key, mappings, by_key, tuple(_remarks(resources))), scope


def _sqs_mappings(resources: Resources, queues: Queues) -> Iterator[str]:
    """Yield the mappings of queues, and those that may be."""
    for name in resources.of(MAPPING):
        properties = resources.properties(name)
        source = properties.text("EventSourceArn").value
        if source is None:
            continue
        named = [each.resource for each in references(source)]
        open_kind = bool(named) and resources.kind(named[0]) in {"", *_NESTED} and not str(source).startswith("arn:")
        known = queues.key_of(source) in queues.by_key or ":sqs:" in str(source)
        if known or (open_kind and not any(each in properties.content for each in _OF_OTHER_SOURCES)):
            yield name


def _mapping(
    name: str, resources: Resources, queues: Queues, functions: Functions, by_key: Mapping[str, Function]
) -> EventMapping:
    properties = resources.properties(name)
    source, target = properties.text("EventSourceArn"), properties.text("FunctionName")
    if name in resources.plain.origins:  # SAM's word for it
        source = replace(source, place=resources.template.place((*properties.path, "Queue")))
    function = functions.key_of(target.value or "")
    return EventMapping(
        key=resources.label(name),
        place=resources.place(name),
        queue=queues.key_met(source),
        function=function if function in by_key else None,
        function_name=function or str(target.value or "a function that is not named"),
        batch_size=properties.number("BatchSize", aws_limits.MAPPING_DEFAULT_BATCH_SIZE),
        window=properties.number("MaximumBatchingWindowInSeconds", 0),
        response_types=properties.texts("FunctionResponseTypes"),
        maximum_concurrency=properties.inside("ScalingConfig").number("MaximumConcurrency"),
        provisioned=_presence(properties, "ProvisionedPollerConfig"),
        enabled=properties.flag("Enabled", default=True),
        filtered=_presence(properties, "FilterCriteria"),
        exists=resources.exists[name],
    )


def _presence(properties: Properties, name: str) -> Setting[bool]:
    """Return whether a property that is an object is set, and not empty."""
    found = properties.value(name)
    why = found.unknown or (properties.scope.why(found.value) if isinstance(found.value, Unresolved) else "")
    return replace(found, value=None if why else bool(found.value), unknown=why)


def _remarks(resources: Resources) -> Iterator[NotKnown]:
    template = resources.template
    for macro in template.macros:
        why = f"the macro {macro} may change it at deployment"
        yield NotKnown("what the template becomes", why, template.place(("Transform",)))
    for name in resources.of():
        if resources.kind(name) not in _NESTED and not resources.kind(name).endswith("::MODULE"):
            continue
        yield NotKnown(f"what {name} holds", "it is a stack of its own: check its template too", resources.place(name))
    for name, fault in resources.plain.faults.items():
        if "SQS" in texts_in(template.resources.get(name, {"Type": "SQS"})):
            place = template.place(("Resources", name))
            yield NotKnown(f"what becomes of {name}", f"SAM cannot translate it: {fault}", place)


def _look_at_values(template: Template, given: Mapping[str, str]) -> None:
    definitions = template.section("Parameters")
    for name, value in given.items():
        if name not in definitions:
            raise ConfigurationError(
                f"{template.name} has no parameter {name}; it has {', '.join(map(str, definitions)) or 'none'}"
            )
        allowed = mapping_of(definitions[name]).get("AllowedValues")
        if isinstance(allowed, list) and value not in {str(each) for each in allowed}:
            words = ", ".join(str(each) for each in allowed)
            raise ConfigurationError(f"{template.name}: parameter {name} is one of {words}, not {value}")

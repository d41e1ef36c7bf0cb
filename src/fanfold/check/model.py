"""The model of a template: its queues, the mappings that read them, and the functions that the mappings invoke."""

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
_OTHER_SOURCES: Final = ("StartingPosition", "Topics", "Queues", "SelfManagedEventSource")


def read_model(file: Path, parameters: Mapping[str, str] | None = None) -> tuple[Template, Model, Scope]:
    """Read a template file: SAM or CloudFormation, YAML or JSON; the output of the AWS CDK too.

    Args:
        file: The template.
        parameters: Values of parameters; the others have their defaults.

    Raises:
        ConfigurationError: If the file cannot be read or is not a template, if an intrinsic function in it is
            malformed, or if the template does not allow the value of a parameter.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    template = read_template(file)
    _check_parameters(template, parameters or {})
    try:
        return template, *model_of(template, parameters)
    except RecursionError as error:
        raise ConfigurationError(f"{file} is nested too deeply") from error


def model_of(template: Template, parameters: Mapping[str, str] | None = None) -> tuple[Model, Scope]:
    """Return the model of a template, and the scope in which its functions were evaluated.

    Args:
        template: The template.
        parameters: Values of parameters; the others have their defaults.

    Raises:
        ConfigurationError: If an intrinsic function in it is malformed.
        MissingExtraError: If the SAM translator is needed and not installed.
    """
    translated = translate(template.resources, template.section("Conditions"))
    scope = Scope(
        parameters=template.section("Parameters"),
        parameter_values=parameters or {},
        mappings=template.section("Mappings"),
        conditions=translated.conditions,
        resources=translated.resources,
    )
    resources = Resources(template, scope, translated)
    queues = Queues(resources)
    names = list(_sqs_mappings(resources, queues))
    functions = Functions(resources, queues)
    by_key = functions.by_key(names)
    mappings = tuple(_mapping(name, resources, queues, functions, by_key) for name in names)
    return Model(queues.by_key, mappings, by_key, tuple(_remarks(resources))), scope


def _sqs_mappings(resources: Resources, queues: Queues) -> Iterator[str]:
    """Yield the mappings that read an SQS queue, and those that may read one."""
    for name in resources.of(MAPPING):
        properties = resources.properties(name)
        source = properties.text("EventSourceArn").value
        if source is None:
            continue
        referenced = [reference.resource for reference in references(source)]
        outside = bool(referenced) and resources.kind(referenced[0]) in {"", *_NESTED}
        may_be_queue = outside and not str(source).startswith("arn:")
        is_queue = queues.key_of(source) in queues.by_key or ":sqs:" in str(source)
        if is_queue or (may_be_queue and not any(name in properties.content for name in _OTHER_SOURCES)):
            yield name


def _mapping(
    name: str, resources: Resources, queues: Queues, functions: Functions, by_key: Mapping[str, Function]
) -> EventMapping:
    properties = resources.properties(name)
    source, target = properties.text("EventSourceArn"), properties.text("FunctionName")
    if name in resources.translated.origins:  # the property has another name in a SAM event
        source = replace(source, place=resources.template.place((*properties.path, "Queue")))
    function = functions.key_of(target.value or "")
    return EventMapping(
        key=resources.label(name),
        place=resources.place(name),
        queue=queues.resolve(source),
        function=function if function in by_key else None,
        function_name=function or str(target.value or "a function without a name"),
        batch_size=properties.number("BatchSize", aws_limits.MAPPING_DEFAULT_BATCH_SIZE),
        window=properties.number("MaximumBatchingWindowInSeconds", 0),
        response_types=properties.texts("FunctionResponseTypes"),
        maximum_concurrency=properties.inside("ScalingConfig").number("MaximumConcurrency"),
        provisioned=_presence(properties, "ProvisionedPollerConfig"),
        enabled=properties.flag("Enabled", default=True),
        filtered=_presence(properties, "FilterCriteria"),
        filters=properties.inside("FilterCriteria").value("Filters"),
        exists=resources.exists[name],
    )


def _presence(properties: Properties, name: str) -> Setting[bool]:
    """Return whether an object property is set and not empty."""
    setting = properties.value(name)
    why = setting.unknown or (properties.scope.why(setting.value) if isinstance(setting.value, Unresolved) else "")
    return replace(setting, value=None if why else bool(setting.value), unknown=why)


def _remarks(resources: Resources) -> Iterator[NotKnown]:
    template = resources.template
    for macro in template.macros:
        why = f"the macro {macro} may change it at deployment"
        yield NotKnown("the final template", why, template.place(("Transform",)))
    for name in resources.of():
        if resources.kind(name) not in _NESTED and not resources.kind(name).endswith("::MODULE"):
            continue
        yield NotKnown(
            f"the content of {name}", "it is a nested stack or module: check its template too", resources.place(name)
        )
    for name, error in resources.translated.errors.items():
        if "SQS" in texts_in(template.resources.get(name, {"Type": "SQS"})):
            place = template.place(("Resources", name))
            yield NotKnown(f"the translation of {name}", f"SAM cannot translate it: {error}", place)


def _check_parameters(template: Template, parameters: Mapping[str, str]) -> None:
    definitions = template.section("Parameters")
    for name, value in parameters.items():
        if name not in definitions:
            raise ConfigurationError(
                f"{template.name} has no parameter {name}; its parameters: {', '.join(map(str, definitions)) or 'none'}"
            )
        allowed = mapping_of(definitions[name]).get("AllowedValues")
        if isinstance(allowed, list) and value not in {str(item) for item in allowed}:
            choices = ", ".join(str(item) for item in allowed)
            raise ConfigurationError(f"{template.name}: parameter {name} must be one of {choices}, not {value}")

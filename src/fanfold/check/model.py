"""The model of a template: its queues, the mappings that read them, and the functions that the mappings invoke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from fanfold.check.functions import Functions
from fanfold.check.intrinsics import Scope
from fanfold.check.mappings import NESTED, mapping_of_name, sqs_mappings
from fanfold.check.pipes import pipes
from fanfold.check.queues import Queues
from fanfold.check.reading import Template, read_template
from fanfold.check.resources import Resources, mapping_of, texts_in
from fanfold.check.sam import translate
from fanfold.check.senders import with_senders
from fanfold.check.values import Model, NotKnown
from fanfold.errors import ConfigurationError


def read_model(file: Path, parameters: Mapping[str, str] | None = None) -> tuple[Template, Model, Scope]:
    """Read a template file: SAM or CloudFormation, YAML or JSON; the output of the AWS CDK too.

    Args:
        file: The template.
        parameters: Values of parameters; the others have their defaults.

    Raises:
        ConfigurationError: If the file cannot be read or is not a template, or if the template does not allow the
            value of a parameter.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    template = read_template(file, parameters)
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
    names = list(sqs_mappings(resources, queues))
    functions = Functions(resources, queues)
    by_key = functions.by_key(names)
    mappings = tuple(mapping_of_name(name, resources, queues, functions, by_key) for name in names)
    piped = tuple(pipes(resources, queues, functions, by_key))
    fed = with_senders(queues.by_key, resources, queues)
    return Model(fed, mappings, by_key, tuple(_remarks(resources)), piped), scope


def _remarks(resources: Resources) -> Iterator[NotKnown]:
    template = resources.template
    yield from template.notes
    yield from resources.malformed
    for macro in template.macros:
        why = f"the macro {macro} may change it at deployment"
        yield NotKnown("the final template", why, template.place(("Transform",)))
    for name in resources.of():
        if resources.kind(name) not in NESTED and not resources.kind(name).endswith("::MODULE"):
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

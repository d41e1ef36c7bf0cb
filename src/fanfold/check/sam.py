"""Translate SAM to CloudFormation: the mappings, roles, and policies that events, policies, and connectors become.

The SAM translator runs on a copy with only the relevant parts, so that an error elsewhere in a template does not
prevent the translation. Parameters stay references: ``intrinsics`` evaluates them later.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

from fanfold.errors import MissingExtraError

_FUNCTION: Final = "AWS::Serverless::Function"
_CONNECTOR: Final = "AWS::Serverless::Connector"
_COPIED_PROPERTIES: Final = ("Role", "Policies", "FunctionName")
_PLACEHOLDERS: Final = {"Handler": "handler.handler", "Runtime": "python3.13", "InlineCode": "pass"}
_PSEUDO_PARAMETERS: Final = {"AWS::Region": "${AWS::Region}", "AWS::Partition": "${AWS::Partition}"}


@dataclass(frozen=True)
class Translated:
    """The resources of a template after SAM's translation."""

    resources: Mapping[str, Mapping[str, Any]]
    conditions: Mapping[str, Any]
    """The template's conditions, and those that SAM adds."""
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For a resource that SAM generates: the path of its origin in the template, by logical id."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why a function or connector could not be translated, by its logical id."""


def translate(resources: Mapping[str, Mapping[str, Any]], conditions: Mapping[str, Any]) -> Translated:
    """Return the resources of a template with SAM's functions and connectors translated.

    Functions keep their own properties. Added are the mappings of SQS events, the resources of SNS events with an SQS
    subscription, the roles, and the policies of connectors. Other SAM resources stay as they are.

    Raises:
        MissingExtraError: If the SAM translator is not installed.
    """
    functions = {name: resource for name, resource in resources.items() if resource["Type"] == _FUNCTION}
    others = {
        name: _without_connectors(resource)
        for name, resource in resources.items()
        if not resource["Type"].startswith("AWS::Serverless")
    }
    reduced = {name: _reduced(function) for name, function in functions.items()}
    connectors = _connectors(resources, {*others, *reduced})
    if not reduced and not connectors:
        return Translated(resources, conditions)
    output = _translate({**others, **reduced, **connectors}, conditions)
    errors: dict[str, str] = {}
    if isinstance(output, str):
        output, errors = _translate_one_by_one(others, reduced, connectors, conditions)
    generated = output["Resources"]
    origins = {
        generated_id: path
        for name, function in functions.items()
        for generated_id, path in _origins(name, function).items()
        if generated_id in generated and generated_id not in resources
    }
    added = {name: resource for name, resource in generated.items() if name not in resources}
    changed = {name: _with_role(resources[name], generated[name]) for name in functions if name in generated}
    return Translated({**resources, **changed, **added}, {**conditions, **output["Conditions"]}, origins, errors)


def _without_connectors(resource: Mapping[str, Any]) -> Any:
    """Return a copy of a resource without its embedded connectors, which are translated as separate resources."""
    return _plain_copy({name: value for name, value in resource.items() if name != "Connectors"})


def _with_role(function: Mapping[str, Any], translated: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a SAM function as written, with the role that SAM gives it."""
    role = (translated.get("Properties") or {}).get("Role")
    properties = _mapping(function.get("Properties"))
    return {**function, "Properties": {**properties, **({} if role is None else {"Role": role})}}


def _reduced(function: Mapping[str, Any]) -> dict[str, Any]:
    properties = _mapping(function.get("Properties"))
    copied = {name: _plain_copy(properties[name]) for name in _COPIED_PROPERTIES if name in properties}
    events = {
        name: _plain_copy(event)
        for name, event in _mapping(properties.get("Events")).items()
        if isinstance(event, Mapping) and (event.get("Type") == "SQS" or _subscribes_queue(event))
    }
    reduced: dict[str, Any] = {"Type": _FUNCTION, "Properties": {**_PLACEHOLDERS, **copied, "Events": events}}
    if isinstance(function.get("Condition"), str):
        reduced["Condition"] = str(function["Condition"])
    return reduced


def _subscribes_queue(event: Mapping[str, Any]) -> bool:
    """Return whether an SNS event sends through a queue, which the function reads."""
    return event.get("Type") == "SNS" and bool(_mapping(event.get("Properties")).get("SqsSubscription"))


def _connectors(resources: Mapping[str, Mapping[str, Any]], known: set[str]) -> dict[str, Any]:
    """Return the connectors between known resources, embedded ones included."""
    connectors: dict[str, Any] = {}
    for name, resource in resources.items():
        if resource["Type"] == _CONNECTOR:
            connectors[name] = _plain_copy(resource)
        for inner, connector in _mapping(resource.get("Connectors")).items():
            properties = dict(_mapping(_mapping(connector).get("Properties")))
            properties["Source"] = {**_mapping(properties.pop("SourceReference", {})), "Id": name}
            connectors[f"{name}{inner}"] = {"Type": _CONNECTOR, "Properties": _plain_copy(properties)}
    return {name: part for name, part in connectors.items() if _ends(part) and _ends(part) <= known}


def _ends(connector: Mapping[str, Any]) -> set[str]:
    properties = _mapping(connector.get("Properties"))
    destination = properties.get("Destination")
    ends = [properties.get("Source"), *(destination if isinstance(destination, list) else [destination])]
    return {str(_mapping(end).get("Id")) for end in ends}


def _origins(name: str, function: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    base = ("Resources", name, "Properties")
    origins: dict[str, tuple[str, ...]] = {f"{name}Role": (*base, "Policies")}
    for event in _mapping(_mapping(function.get("Properties")).get("Events")):
        path = origins[f"{name}{event}"] = (*base, "Events", str(event), "Properties")
        origins[f"{name}{event}Queue"] = origins[f"{name}{event}QueuePolicy"] = path
        origins[f"{name}{event}EventSourceMapping"] = (*path, "SqsSubscription")
    return origins


def _translate_one_by_one(
    others: Mapping[str, Any],
    functions: Mapping[str, Any],
    connectors: Mapping[str, Any],
    conditions: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Translate each function alone, and each connector with the valid functions; return the output and the errors."""
    errors: dict[str, str] = {}
    resources: dict[str, Any] = dict(others)
    added_conditions: dict[str, Any] = {}
    valid: dict[str, Any] = {}
    for name, part in {**functions, **connectors}.items():
        output = _translate({**others, **(valid if name in connectors else {}), name: part}, conditions)
        if isinstance(output, str):
            errors[name] = output
            continue
        resources.update(output["Resources"])
        added_conditions.update(output["Conditions"])
        if name in functions:
            valid[name] = part
    return {"Resources": resources, "Conditions": added_conditions}, errors


def _translate(resources: Mapping[str, Any], conditions: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the translated resources and conditions, or the error message."""
    try:
        from samtranslator.model.exceptions import InvalidDocumentException
        from samtranslator.parser.parser import Parser
        from samtranslator.translator.translator import Translator
    except ModuleNotFoundError as error:
        raise MissingExtraError("check", "reading a template") from error
    template = {"Resources": copy.deepcopy(dict(resources)), "Conditions": _plain_copy(conditions)}
    translator = Translator({}, Parser(), None, SimpleNamespace(region_name="us-east-1"))
    try:
        output = translator.translate(template, parameter_values=dict(_PSEUDO_PARAMETERS))
    except InvalidDocumentException as error:
        return "; ".join(cause.message for cause in error.causes) or "SAM rejects it without a reason"
    except Exception as error:  # noqa: BLE001 - the translator raises errors of any kind for odd templates
        return f"the SAM translator failed: {error!r}"
    finally:
        translator.metrics.publish()  # without a backend; unpublished metrics cause a warning
    return {name: dict(_mapping(output.get(name))) for name in ("Resources", "Conditions")}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain_copy(value: Any) -> Any:
    """Return a copy that consists only of built-in types."""
    return json.loads(json.dumps(value, default=str))

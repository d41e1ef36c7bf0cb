"""SAM's shorthand made plain: which mappings, roles and policies a function's events, policies and connectors become.

The SAM translator does it, on a copy that holds only what matters here, so that a fault elsewhere in a template hides
nothing. Parameters stay references: they are worked out later, with the reason why if they cannot be.
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
_KEPT: Final = ("Role", "Policies", "FunctionName")
_STAND_IN: Final = {"Handler": "handler.handler", "Runtime": "python3.13", "InlineCode": "pass"}
_PSEUDO: Final = {"AWS::Region": "${AWS::Region}", "AWS::Partition": "${AWS::Partition}"}


@dataclass(frozen=True)
class Plain:
    """Resources without SAM's shorthand."""

    resources: Mapping[str, Mapping[str, Any]]
    conditions: Mapping[str, Any]
    """The template's, and those that SAM adds."""
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For what SAM makes: the path of what it is made of, by logical id."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Why a function or connector could not be translated, by its logical id."""


def translate(resources: Mapping[str, Mapping[str, Any]], conditions: Mapping[str, Any]) -> Plain:
    """Return the resources of a template with SAM's functions and connectors made plain.

    Functions keep their own properties; what is added are the mappings of their SQS events, what their subscriptions of
    topics by a queue become, their roles and what connectors become. Other resources of SAM's are left as they are.

    Raises:
        MissingExtraError: If the SAM translator is not installed.
    """
    functions = {name: each for name, each in resources.items() if each["Type"] == _FUNCTION}
    plain = {name: _bare(each) for name, each in resources.items() if not each["Type"].startswith("AWS::Serverless")}
    reduced = {name: _reduced(each) for name, each in functions.items()}
    connectors = _connectors(resources, {*plain, *reduced})
    if not reduced and not connectors:
        return Plain(resources, conditions)
    made = _translated({**plain, **reduced, **connectors}, conditions)
    faults: dict[str, str] = {}
    if isinstance(made, str):
        made, faults = _one_by_one(plain, reduced, connectors, conditions)
    found = made["Resources"]
    origins = {
        made_id: path
        for name, function in functions.items()
        for made_id, path in _origins(name, function).items()
        if made_id in found and made_id not in resources
    }
    added = {name: each for name, each in found.items() if name not in resources}
    changed = {name: _joined(resources[name], found[name]) for name in functions if name in found}
    return Plain({**resources, **changed, **added}, {**conditions, **made["Conditions"]}, origins, faults)


def _bare(resource: Mapping[str, Any]) -> Any:
    """Return a copy of a resource without the connectors written in it, which are made resources of their own."""
    return _plainly({name: each for name, each in resource.items() if name != "Connectors"})


def _joined(function: Mapping[str, Any], made: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a SAM function as it was written, with the role that SAM gives it."""
    role = (made.get("Properties") or {}).get("Role")
    properties = _mapping(function.get("Properties"))
    return {**function, "Properties": {**properties, **({} if role is None else {"Role": role})}}


def _reduced(function: Mapping[str, Any]) -> dict[str, Any]:
    properties = _mapping(function.get("Properties"))
    kept = {name: _plainly(properties[name]) for name in _KEPT if name in properties}
    events = {
        name: _plainly(event)
        for name, event in _mapping(properties.get("Events")).items()
        if isinstance(event, Mapping) and (event.get("Type") == "SQS" or _subscribes_a_queue(event))
    }
    made: dict[str, Any] = {"Type": _FUNCTION, "Properties": {**_STAND_IN, **kept, "Events": events}}
    if isinstance(function.get("Condition"), str):
        made["Condition"] = str(function["Condition"])
    return made


def _subscribes_a_queue(event: Mapping[str, Any]) -> bool:
    """Return whether an event lets a topic send to a queue, which the function reads."""
    return event.get("Type") == "SNS" and bool(_mapping(event.get("Properties")).get("SqsSubscription"))


def _connectors(resources: Mapping[str, Mapping[str, Any]], known: set[str]) -> dict[str, Any]:
    """Return connectors between resources that are kept, those written inside a resource too."""
    found: dict[str, Any] = {}
    for name, resource in resources.items():
        if resource["Type"] == _CONNECTOR:
            found[name] = _plainly(resource)
        for inner, connector in _mapping(resource.get("Connectors")).items():
            properties = dict(_mapping(_mapping(connector).get("Properties")))
            properties["Source"] = {**_mapping(properties.pop("SourceReference", {})), "Id": name}
            found[f"{name}{inner}"] = {"Type": _CONNECTOR, "Properties": _plainly(properties)}
    return {name: each for name, each in found.items() if _ends(each) and _ends(each) <= known}


def _ends(connector: Mapping[str, Any]) -> set[str]:
    properties = _mapping(connector.get("Properties"))
    destination = properties.get("Destination")
    ends = [properties.get("Source"), *(destination if isinstance(destination, list) else [destination])]
    return {str(_mapping(end).get("Id")) for end in ends}


def _origins(name: str, function: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    base = ("Resources", name, "Properties")
    found: dict[str, tuple[str, ...]] = {f"{name}Role": (*base, "Policies")}
    for event in _mapping(_mapping(function.get("Properties")).get("Events")):
        path = found[f"{name}{event}"] = (*base, "Events", str(event), "Properties")
        found[f"{name}{event}Queue"] = found[f"{name}{event}QueuePolicy"] = path
        found[f"{name}{event}EventSourceMapping"] = (*path, "SqsSubscription")
    return found


def _one_by_one(
    plain: Mapping[str, Any], functions: Mapping[str, Any], connectors: Mapping[str, Any], conditions: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what can be translated alone, each connector with all functions that can, and why the rest cannot."""
    faults: dict[str, str] = {}
    found: dict[str, Any] = dict(plain)
    found_conditions: dict[str, Any] = {}
    sound: dict[str, Any] = {}
    for name, part in {**functions, **connectors}.items():
        made = _translated({**plain, **(sound if name in connectors else {}), name: part}, conditions)
        if isinstance(made, str):
            faults[name] = made
            continue
        found.update(made["Resources"])
        found_conditions.update(made["Conditions"])
        if name in functions:
            sound[name] = part
    return {"Resources": found, "Conditions": found_conditions}, faults


def _translated(resources: Mapping[str, Any], conditions: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return plain resources and conditions, or why there are none."""
    try:
        from samtranslator.model.exceptions import InvalidDocumentException
        from samtranslator.parser.parser import Parser
        from samtranslator.translator.translator import Translator
    except ModuleNotFoundError as error:
        raise MissingExtraError("check", "reading a template") from error
    template = {"Resources": copy.deepcopy(dict(resources)), "Conditions": _plainly(conditions)}
    translator = Translator({}, Parser(), None, SimpleNamespace(region_name="us-east-1"))
    try:
        made = translator.translate(template, parameter_values=dict(_PSEUDO))
    except InvalidDocumentException as error:
        return "; ".join(cause.message for cause in error.causes) or "SAM does not take it"
    except Exception as error:  # noqa: BLE001 - the translator meets odd templates with errors of any kind
        return f"the SAM translator failed: {error!r}"
    finally:
        translator.metrics.publish()  # to nobody; unpublished ones are complained about
    return {name: dict(_mapping(made.get(name))) for name in ("Resources", "Conditions")}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plainly(value: Any) -> Any:
    """Return a copy made of nothing but Python's own types."""
    return json.loads(json.dumps(value, default=str))

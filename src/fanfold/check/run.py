"""The rules over one template, and what comes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fanfold.check.model import read_model
from fanfold.check.reading import Template
from fanfold.check.resources import mapping_of
from fanfold.check.rules import RULES
from fanfold.check.values import Finding, Hit, Model, NotKnown, Severity

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True)
class Report:
    """What was found in one template."""

    template: str
    """The file, as it was given."""
    findings: tuple[Finding, ...]
    """By line."""
    ignored: tuple[Finding, ...]
    """What rules found that the caller or the template itself says to ignore."""
    not_known: tuple[NotKnown, ...]
    """What could not be looked at, and why."""
    defaults: Mapping[str, str]
    """Parameters that counted with their defaults."""
    mappings: int
    """How many mappings of SQS queues there are."""

    def fails(self, level: Severity) -> bool:
        """Return whether something was found that is at least so bad."""
        return any(_ORDER[finding.severity] <= _ORDER[level] for finding in self.findings)


def check_template(file: Path, *, parameters: Mapping[str, str] | None = None, ignore: Collection[str] = ()) -> Report:
    """Check a template file.

    Args:
        file: SAM or CloudFormation, YAML or JSON.
        parameters: Values of parameters; the others count with their defaults.
        ignore: Ids of rules. A resource's ``Metadata`` may name more for itself: ``fanfold: {ignore: [FF004]}``.

    Raises:
        ConfigurationError: If the file cannot be read or is no template, if a function in it is malformed, or if a
            parameter has a value that it does not allow.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    template, model, scope = read_model(file, parameters)
    findings, not_known = check_model(model)
    kept = [each for each in findings if each.rule not in ignore and each.rule not in ignored_in(template, each.owner)]
    return Report(
        template=template.name,
        findings=tuple(kept),
        ignored=tuple(each for each in findings if each not in kept),
        not_known=tuple(not_known),
        defaults={name: str(value) for name, value in scope.defaults_used.items()},
        mappings=len(model.mappings),
    )


def check_model(model: Model) -> tuple[list[Finding], list[NotKnown]]:
    """Return what the rules find and what they could not look at, both by line."""
    findings: dict[Finding, None] = {}
    remarks = {(each.subject, each.why): each for each in model.remarks}
    for rule in RULES:
        for each in rule.check(model):
            if isinstance(each, Hit):
                found = Finding(rule.id, rule.severity, each.resource, each.place, each.actual, each.recommended)
                findings[found] = None
            else:
                key = each.subject, each.why
                known = remarks.setdefault(key, each)
                remarks[key] = replace(known, rules=tuple(sorted({*known.rules, rule.id})))
    by_line = sorted(findings, key=lambda each: (each.place.line, each.rule))
    return by_line, sorted(remarks.values(), key=lambda each: each.place.line)


def ignored_in(template: Template, resource: str) -> set[str]:
    """Return the rules that a resource's own ``Metadata`` says to ignore."""
    metadata = mapping_of(template.resources.get(resource, {}).get("Metadata"))
    named = mapping_of(metadata.get("fanfold")).get("ignore", [])
    return {str(each) for each in (named if isinstance(named, list) else [named])}

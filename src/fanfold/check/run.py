"""Run every rule on templates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fanfold.check.model import read_model
from fanfold.check.reading import Template
from fanfold.check.resources import mapping_of
from fanfold.check.rules import RULES
from fanfold.check.values import Finding, Hit, Model, NotKnown, Severity
from fanfold.errors import ConfigurationError, MissingExtraError

_CDK_TEMPLATES: Final = "*.template.json"
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True)
class Report:
    """The result of checking one template."""

    template: str
    """The path of the file, as the caller wrote it."""
    findings: tuple[Finding, ...]
    """Findings, by line."""
    ignored: tuple[Finding, ...]
    """Findings that the caller or the template ignores."""
    not_known: tuple[NotKnown, ...]
    """Values that are not known, and why; the rules that need them were not checked."""
    defaults: Mapping[str, str]
    """Parameters whose default value was used."""
    mappings: int
    """Number of event source mappings of SQS queues."""
    pipes: int = 0
    """Number of EventBridge pipes that read SQS queues."""

    def fails(self, level: Severity) -> bool:
        """Return whether there is a finding of at least this severity."""
        return any(_ORDER[finding.severity] <= _ORDER[level] for finding in self.findings)


def check_template(
    file: Path,
    *,
    parameters: Mapping[str, str] | None = None,
    ignore: Collection[str] = (),
    outage_seconds: float | None = None,
) -> Report:
    """Check a template file.

    Args:
        file: A SAM or CloudFormation template, YAML or JSON.
        parameters: Values of parameters; the others have their defaults.
        ignore: Ids of rules to ignore. A resource can ignore more in its ``Metadata``: ``fanfold: {ignore: [FF004]}``.
        outage_seconds: Length of an outage that queues have to survive; None if they need not.

    Raises:
        ConfigurationError: If the file cannot be read or is not a template, or if the template does not allow the
            value of a parameter.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    template, model, scope = read_model(file, parameters)
    findings, not_known = check_model(replace(model, outage_seconds=outage_seconds))
    active = [
        finding
        for finding in findings
        if finding.rule not in ignore and finding.rule not in ignored_in(template, finding.owner)
    ]
    return Report(
        template=template.name,
        findings=tuple(active),
        ignored=tuple(finding for finding in findings if finding not in active),
        not_known=tuple(not_known),
        defaults={name: str(value) for name, value in scope.defaults_used.items()},
        mappings=len(model.mappings),
        pipes=len(model.pipes),
    )


@dataclass(frozen=True)
class Unreadable:
    """A template that could not be checked."""

    template: str
    """The path of the file, as the caller wrote it."""
    why: str
    """One line, which names the file."""


def check_templates(
    files: Iterable[Path],
    *,
    parameters: Mapping[str, str] | None = None,
    ignore: Collection[str] = (),
    outage_seconds: float | None = None,
) -> tuple[list[Report], list[Unreadable]]:
    """Check templates; the findings in a template do not depend on whether the others can be read.

    Args:
        files: Template files, and folders that the AWS CDK wrote (``cdk.out``).
        parameters: As for ``check_template``.
        ignore: As for ``check_template``.
        outage_seconds: As for ``check_template``.

    Raises:
        MissingExtraError: If the extra ``check`` is not installed.
    """
    reports: list[Report] = []
    unreadable: list[Unreadable] = []
    for file in dict.fromkeys(template for path in files for template in _templates_in(path)):
        try:
            reports.append(check_template(file, parameters=parameters, ignore=ignore, outage_seconds=outage_seconds))
        except MissingExtraError:
            raise
        except ConfigurationError as error:
            unreadable.append(Unreadable(str(file), str(error)))
    return reports, unreadable


def _templates_in(path: Path) -> list[Path]:
    """Return the templates in a folder that the AWS CDK wrote, or the path itself if it has none or is a file.

    The templates of stages and nested stacks are in its subfolders.
    """
    return (sorted(path.rglob(_CDK_TEMPLATES)) if path.is_dir() else []) or [path]


def check_model(model: Model) -> tuple[list[Finding], list[NotKnown]]:
    """Return the findings of all rules, and the values that are not known, both by line."""
    findings: dict[Finding, None] = {}
    notes = {(remark.subject, remark.why): remark for remark in model.remarks}
    for rule in RULES:
        for result in rule.check(model):
            if isinstance(result, Hit):
                finding = Finding(
                    rule.id, rule.severity, result.resource, result.place, result.actual, result.recommended
                )
                findings[finding] = None
            else:
                key = result.subject, result.why
                note = notes.setdefault(key, result)
                notes[key] = replace(note, rules=tuple(sorted({*note.rules, rule.id})))
    by_line = sorted(findings, key=lambda finding: (finding.place.line, finding.rule))
    return by_line, sorted(notes.values(), key=lambda note: note.place.line)


def ignored_in(template: Template, resource: str) -> set[str]:
    """Return the rules that a resource ignores in its ``Metadata``."""
    metadata = mapping_of(template.resources.get(resource, {}).get("Metadata"))
    ids = mapping_of(metadata.get("fanfold")).get("ignore", [])
    return {str(rule_id) for rule_id in (ids if isinstance(ids, list) else [ids])}

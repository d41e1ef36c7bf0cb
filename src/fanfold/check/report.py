"""Reports of checked templates as one JSON document, or as SARIF 2.1.0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from fanfold.check.rules import BY_ID, RULES, Rule
from fanfold.check.run import Report, Unreadable
from fanfold.check.values import Finding, NotKnown, Place, Severity

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def counts(reports: Iterable[Report]) -> dict[str, int]:
    """Return the number of findings by severity, of ignored findings, and of unknown values."""
    every = list(reports)
    by_severity = Counter(finding.severity for report in every for finding in report.findings)
    return {
        **{severity.value: by_severity[severity] for severity in Severity},
        "ignored": sum(len(report.ignored) for report in every),
        "not_known": sum(len(report.not_known) for report in every),
    }


def as_json(reports: Sequence[Report], unreadable: Sequence[Unreadable] = ()) -> dict[str, Any]:
    """Return the reports, and the templates that could not be checked, as one document."""
    return {
        "templates": [
            {
                "template": report.template,
                "mappings": report.mappings,
                "pipes": report.pipes,
                "findings": [_finding(finding) for finding in report.findings],
                "ignored": [_finding(finding) for finding in report.ignored],
                "not_known": [
                    {"what": note.subject, "why": note.why, "line": note.place.line, "rules": list(note.rules)}
                    for note in report.not_known
                ],
                "defaults": dict(report.defaults),
            }
            for report in reports
        ],
        "unreadable": [{"template": failed.template, "error": failed.why} for failed in unreadable],
        "summary": {**counts(reports), "unreadable": len(unreadable)},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    rule = BY_ID[finding.rule]
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "title": rule.title,
        "resource": finding.resource,
        "logical_id": finding.owner,
        "line": finding.place.line,
        "column": finding.place.column,
        "path": list(finding.place.path),
        "found": finding.actual,
        "wanted": finding.recommended,
        "fix": rule.fix,
        "page": {"title": rule.page.title, "url": rule.page.url},
    }


def as_sarif(reports: Sequence[Report], version: str, unreadable: Sequence[Unreadable] = ()) -> dict[str, Any]:
    """Return the reports as SARIF 2.1.0, which code-scanning services read.

    An ignored finding is a suppressed result; an unknown value is a notification. A template that could not be checked
    is a notification of level ``error``, and then the execution is not successful.

    Args:
        reports: One for each template that was checked.
        version: The version of fanfold.
        unreadable: The other templates.
    """
    driver = {"name": "fanfold check", "version": version, "rules": [_rule(rule) for rule in RULES]}
    results = [
        _result(report, finding, suppressed=finding in report.ignored)
        for report in reports
        for finding in (*report.findings, *report.ignored)
    ]
    notes = [_note(report, note) for report in reports for note in report.not_known]
    failures = [_failure(failed) for failed in unreadable]
    invocation = {"executionSuccessful": not failures, "toolExecutionNotifications": [*failures, *notes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.reason},
        "help": {"text": f"{rule.reason}\n\n{rule.fix}\n\n{rule.page.title}: {rule.page.url}"},
        "helpUri": rule.page.url,
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(report: Report, finding: Finding, *, suppressed: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": list(BY_ID).index(finding.rule),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.resource}: {finding.actual}. Should be: {finding.recommended}."},
        "locations": [_location(report, finding.place, finding.resource)],
    }
    if suppressed:
        result["suppressions"] = [{"kind": "inSource"}]
    return result


def _note(report: Report, note: NotKnown) -> dict[str, Any]:
    skipped = f" Not checked: {', '.join(note.rules)}." if note.rules else ""
    text = f"{note.subject} is not known: {note.why}.{skipped}"
    return {"level": "note", "message": {"text": text}, "locations": [_location(report, note.place)]}


def _failure(failed: Unreadable) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": _uri(failed.template)}}}
    return {"level": "error", "message": {"text": failed.why}, "locations": [place]}


def _uri(template: str) -> str:
    file = PurePath(template)
    return file.as_uri() if file.is_absolute() else quote(file.as_posix())


def _location(report: Report, place: Place, resource: str = "") -> dict[str, Any]:
    region = {"startLine": place.line, "startColumn": place.column}
    if (place.end_line, place.end_column) > (place.line, place.column):
        region.update(endLine=place.end_line, endColumn=place.end_column)
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _uri(report.template)}, "region": region}
    }
    if resource:
        location["logicalLocations"] = [{"name": resource, "kind": "resource"}]
    return location

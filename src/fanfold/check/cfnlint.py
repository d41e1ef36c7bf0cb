"""The rules for cfn-lint: ``cfn-lint --append-rules fanfold.check.cfnlint template.yaml``.

cfn-lint reads a rule's severity from the first letter of its id and reserves 9000 and up for users: FF003, an error,
becomes E9703; FF004, a warning, becomes W9704. cfn-lint shows informational rules (I97…) with ``--include-checks I``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from cfnlint.rules import CloudFormationLintRule, RuleMatch

from fanfold.check.model import model_of
from fanfold.check.reading import template_of
from fanfold.check.rules import RULES, Rule
from fanfold.check.run import check_model, ignored_in
from fanfold.check.values import Finding, Severity
from fanfold.errors import ConfigurationError

__all__ = ["cfnlint_id"]

_LETTERS = {Severity.ERROR: "E", Severity.WARNING: "W", Severity.INFO: "I"}
_findings_by_template: WeakKeyDictionary[Any, list[Finding]] = WeakKeyDictionary()


def cfnlint_id(rule: Rule) -> str:
    """Return the id of a rule in cfn-lint."""
    return f"{_LETTERS[rule.severity]}97{rule.id[-2:]}"


def _findings(cfn: Any) -> list[Finding]:
    """Return the findings in a template; none if it is malformed, which cfn-lint reports itself."""
    if cfn not in _findings_by_template:
        template = template_of(cfn)
        try:
            findings, _ = check_model(model_of(template)[0])
        except (ConfigurationError, RecursionError):
            findings = []
        _findings_by_template[cfn] = [
            finding for finding in findings if finding.rule not in ignored_in(template, finding.owner)
        ]
    return _findings_by_template[cfn]


def _rule_class(rule: Rule) -> type[CloudFormationLintRule]:
    def match(self: CloudFormationLintRule, cfn: Any) -> list[RuleMatch]:  # noqa: ARG001 - cfn-lint's signature
        return list(_matches(rule, cfn))

    attributes = {
        "id": cfnlint_id(rule),
        "shortdesc": rule.title,
        "description": f"{rule.reason} {rule.fix}",
        "source_url": rule.page.url,
        "tags": ["fanfold", "sqs", "lambda"],
        "match": match,
        "__doc__": rule.title,
        "__module__": __name__,
    }
    return type(f"{rule.id}Rule", (CloudFormationLintRule,), attributes)


def _matches(rule: Rule, cfn: Any) -> Iterator[RuleMatch]:
    for finding in _findings(cfn):
        if finding.rule == rule.id:
            message = f"{finding.resource}: {finding.actual}. Should be: {finding.recommended} ({rule.id})"
            yield RuleMatch(list(finding.place.path), message)


# cfn-lint collects the rule classes of the module
globals().update({f"{rule.id}Rule": _rule_class(rule) for rule in RULES})

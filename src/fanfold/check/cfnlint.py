"""The rules as rules of cfn-lint: ``cfn-lint --append-rules fanfold.check.cfnlint template.yaml``.

cfn-lint takes a rule's severity from the first letter of its id and leaves 9000 and up to users: FF003, an error, is
E9703 there, FF004, a warning, W9704. What is only worth knowing (I97…) it shows with ``--include-checks I``.
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
_found: WeakKeyDictionary[Any, list[Finding]] = WeakKeyDictionary()


def cfnlint_id(rule: Rule) -> str:
    """Return the id a rule has in cfn-lint."""
    return f"{_LETTERS[rule.severity]}97{rule.id[-2:]}"


def _findings(cfn: Any) -> list[Finding]:
    """Return what is found in a template; nothing for one that is malformed, which cfn-lint says itself."""
    if cfn not in _found:
        template = template_of(cfn)
        try:
            findings, _ = check_model(model_of(template)[0])
        except (ConfigurationError, RecursionError):
            findings = []
        _found[cfn] = [each for each in findings if each.rule not in ignored_in(template, each.owner)]
    return _found[cfn]


def _made(rule: Rule) -> type[CloudFormationLintRule]:
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
    for each in _findings(cfn):
        if each.rule == rule.id:
            message = f"{each.resource}: {each.actual}. Should be: {each.recommended} ({rule.id})"
            yield RuleMatch(list(each.place.path), message)


# cfn-lint looks for classes in the module
globals().update({f"{rule.id}Rule": _made(rule) for rule in RULES})

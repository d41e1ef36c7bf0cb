"""The table of rules: the problem, its effect on messages, the fix, and the page of the AWS documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fanfold.check import rules_on_functions, rules_on_mappings, rules_on_outages, rules_on_queues
from fanfold.check.rule import Page, Rule

__all__ = ["BY_ID", "RULES", "Page", "Rule", "page", "table"]

_TABLES: Final = (rules_on_functions.RULES, rules_on_mappings.RULES, rules_on_queues.RULES, rules_on_outages.RULES)
RULES: Final[tuple[Rule, ...]] = tuple(sorted((rule for rules in _TABLES for rule in rules), key=lambda rule: rule.id))
"""All rules, by id."""

BY_ID: Final[Mapping[str, Rule]] = {rule.id: rule for rule in RULES}


_LEVELS: Final = {
    "error": "messages are lost or needlessly processed twice, or AWS rejects the setting",
    "warning": "works until load, a failure, or throttling occurs",
    "info": "worth knowing; can be right for some systems",
}


def page(rule: Rule) -> str:
    """Return the documentation page of a rule, as Markdown."""
    return f"""# {rule.id}: {rule.title}

**{rule.severity.value}**: {_LEVELS[rule.severity.value]}

{rule.reason}

## Fix

{rule.fix}

```yaml
{rule.example}
```

## Source

AWS documentation: [{rule.page.title}]({rule.page.url})

To ignore this rule, run `fanfold check --ignore {rule.id}`. To ignore it for one resource, add to the resource in the
template: `Metadata: {{fanfold: {{ignore: [{rule.id}]}}}}`.
"""


def table(folder: str) -> str:
    """Return a Markdown table of all rules, with links to their pages in a folder."""
    head = ["| rule | severity | problem |", "|---|---|---|"]
    rows = [f"| [{rule.id}]({folder}/{rule.id}.md) | {rule.severity.value} | {rule.title} |" for rule in RULES]
    return "\n".join([*head, *rows, ""])

"""The page of a rule, for ``--explain`` and for the documentation site."""

from __future__ import annotations

from typing import Final

from fanfold.check.rules import RULES, Rule

_LEVELS: Final = {
    "error": "messages are lost, or worked on twice without need, or AWS refuses the setting",
    "warning": "it goes well until there is load, a fault or a throttle",
    "info": "worth knowing; right in some systems",
}


def page(rule: Rule) -> str:
    """Return the page of a rule, as Markdown."""
    return f"""# {rule.id}: {rule.title}

**{rule.severity.value}**: {_LEVELS[rule.severity.value]}

{rule.reason}

## Mend

{rule.mend}

```yaml
{rule.example}
```

## From

AWS's documentation: [{rule.page.title}]({rule.page.url})

To leave it out: `fanfold check --ignore {rule.id}`; for one resource only, say in the template
`Metadata: {{fanfold: {{ignore: [{rule.id}]}}}}`.
"""


def table(folder: str) -> str:
    """Return the table of all rules, as Markdown; each links to its page in a folder."""
    head = ["| rule | severity | what is wrong |", "|---|---|---|"]
    rows = [f"| [{rule.id}]({folder}/{rule.id}.md) | {rule.severity.value} | {rule.title} |" for rule in RULES]
    return "\n".join([*head, *rows, ""])

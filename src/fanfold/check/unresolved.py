"""Strings of a template with parts that are known only at deployment.

``arn:aws:sqs:${AWS::Region}:1:${Jobs.QueueName}`` is an ``Unresolved`` of four parts, two of them references. Equal
text means equal values. A string that is known completely is a ``str``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

_REFERENCE: Final = re.compile(r"(\$\{.+?\}|\{\{resolve:.*?(?:\}\}|$))")
_STORED: Final = "{{resolve:"


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that is known only at deployment."""

    name: str
    """Its name in the template: ``Jobs.Arn``, ``Stage``, ``AWS::Region``, ``{{resolve:ssm:/path}}``."""

    @property
    def resource(self) -> str:
        """The name up to the first dot: the logical id, if it refers to a resource."""
        return self.name.partition(".")[0]

    @property
    def attribute(self) -> str:
        """The name after the first dot; empty without a dot."""
        return self.name.partition(".")[2]

    @property
    def stored(self) -> bool:
        """True if it is a dynamic reference (``{{resolve:…}}``), which CloudFormation resolves at deployment."""
        return self.name.startswith(_STORED)

    def __str__(self) -> str:
        return self.name if self.stored else f"${{{self.name}}}"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A string with at least one reference."""

    parts: tuple[str | Reference, ...]
    """The references, and the strings between them."""

    def __str__(self) -> str:
        return "".join(map(str, self.parts))


Text: TypeAlias = str | Unresolved

ACCOUNT: Final = Reference("AWS::AccountId")
STACK_NAME: Final = Reference("AWS::StackName")


def joined(*texts: Text | Reference) -> Text:
    """Return the concatenation of texts and references."""
    flat = [part for text in texts for part in (text.parts if isinstance(text, Unresolved) else (text,)) if part]
    merged: list[str | Reference] = []
    for part in flat:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    if any(isinstance(part, Reference) for part in merged):
        return Unresolved(tuple(merged))
    return str(merged[0]) if merged else ""


def parsed(text: str) -> Text:
    """Return a text in which every ``${…}`` and ``{{resolve:…}}`` is a reference, even outside ``Fn::Sub``."""
    pieces = _REFERENCE.split(text)
    return joined(*(_reference(piece) if index % 2 else piece for index, piece in enumerate(pieces)))


def _reference(text: str) -> Reference:
    return Reference(text if text.startswith(_STORED) else text[2:-1])


def references(text: Text) -> tuple[Reference, ...]:
    """Return all references in a text, in order."""
    return tuple(part for part in text.parts if isinstance(part, Reference)) if isinstance(text, Unresolved) else ()


def sole(text: object) -> Reference | None:
    """Return the reference that makes up a whole text; None if the value is anything else."""
    whole = text.parts[0] if isinstance(text, Unresolved) and len(text.parts) == 1 else None
    return whole if isinstance(whole, Reference) else None


def split(text: Text, separators: str) -> list[Text]:
    """Split a text at single-character separators, except at those inside a reference."""
    fields: list[Text] = [""]
    for part in text.parts if isinstance(text, Unresolved) else (text,):
        pieces = re.split(f"[{separators}]", part) if isinstance(part, str) else [part]
        fields[-1] = joined(fields[-1], pieces[0])
        fields.extend(joined(piece) for piece in pieces[1:])
    return fields


def ending(text: Text) -> Text:
    """Return the name at the end of an ARN or URL: the part after the last colon or slash."""
    return split(text, ":/")[-1]

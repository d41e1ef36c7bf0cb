"""A text of which a part is known at deployment only, as a value.

``arn:aws:sqs:${AWS::Region}:1:${Jobs.QueueName}`` is an ``Unresolved`` of four parts, two of them references. Texts
that are written the same are equal. A text of which everything is known is a ``str``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

_REFERENCE: Final = re.compile(r"(\$\{.+?\}|\{\{resolve:.*?(?:\}\}|$))")
_STORED: Final = "{{resolve:"


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that is known at deployment only."""

    name: str
    """What a template calls it: ``Jobs.Arn``, ``Stage``, ``AWS::Region``, ``{{resolve:ssm:/path}}``."""

    @property
    def resource(self) -> str:
        """The name up to its first dot: the logical id, if it refers to a resource."""
        return self.name.partition(".")[0]

    @property
    def attribute(self) -> str:
        """The name behind its first dot; empty if there is none."""
        return self.name.partition(".")[2]

    @property
    def stored(self) -> bool:
        """Whether it is a dynamic reference, which is read from a store at deployment."""
        return self.name.startswith(_STORED)

    def __str__(self) -> str:
        return self.name if self.stored else f"${{{self.name}}}"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A text with at least one reference in it."""

    parts: tuple[str | Reference, ...]
    """References, and the texts between them."""

    def __str__(self) -> str:
        return "".join(map(str, self.parts))


Text: TypeAlias = str | Unresolved

ACCOUNT: Final = Reference("AWS::AccountId")
STACK_NAME: Final = Reference("AWS::StackName")


def joined(*texts: Text | Reference) -> Text:
    """Return texts put together."""
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
    """Return a text with its ``${…}`` and ``{{resolve:…}}`` as references, also if they stand there without Fn::Sub."""
    pieces = _REFERENCE.split(text)
    return joined(*(_reference(piece) if place % 2 else piece for place, piece in enumerate(pieces)))


def _reference(text: str) -> Reference:
    return Reference(text if text.startswith(_STORED) else text[2:-1])


def references(text: Text) -> tuple[Reference, ...]:
    """Return all references in a text, in their order."""
    return tuple(part for part in text.parts if isinstance(part, Reference)) if isinstance(text, Unresolved) else ()


def sole(text: object) -> Reference | None:
    """Return the reference that is all of a text; None if it is anything else."""
    whole = text.parts[0] if isinstance(text, Unresolved) and len(text.parts) == 1 else None
    return whole if isinstance(whole, Reference) else None


def split(text: Text, separators: str) -> list[Text]:
    """Return what lies between separators, which are single characters; those in a reference separate nothing."""
    found: list[Text] = [""]
    for part in text.parts if isinstance(text, Unresolved) else (text,):
        pieces = re.split(f"[{separators}]", part) if isinstance(part, str) else [part]
        found[-1] = joined(found[-1], pieces[0])
        found.extend(joined(piece) for piece in pieces[1:])
    return found


def ending(text: Text) -> Text:
    """Return the name at the end of an ARN or URL: what is behind its last colon or slash."""
    return split(text, ":/")[-1]

"""To which queue each message of a dead-letter queue goes back. Nothing is guessed: a doubt is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fanfold._dead_letters.letters import Letter
from fanfold.errors import ConfigurationError


def check_before_reading(dead_letters: str, sources: Sequence[str] | None, *, has_policy: bool) -> None:
    """Check that a queue may be read: of a live queue, each read uses a receive.

    Args:
        dead_letters: ARN of the queue.
        sources: As for ``routes_of``.
        has_policy: True if the queue has a redrive policy itself.

    Raises:
        ConfigurationError: If the queue has a dead-letter queue itself, and is not known to be one.
    """
    if has_policy and not sources:
        why = "no redrive policy names it" if sources is not None else "its source queues cannot be listed"
        raise ConfigurationError(
            f"queue {_name(dead_letters)} is not known to be a dead-letter queue: {why}, and it has a redrive policy "
            "itself. Check --from"
        )


def routes_of(
    letters: Iterable[Letter], dead_letters: str, sources: Sequence[str] | None, target: str | None
) -> Mapping[str | None, str]:
    """Return the ARN of the target for each source that the messages name, and for None if some name none.

    Args:
        letters: The messages.
        dead_letters: ARN of the dead-letter queue.
        sources: ARNs of the queues whose redrive policies name the dead-letter queue; None if unknown.
        target: ARN of the queue that the user has chosen; None for the source queues.

    Raises:
        ConfigurationError: If the queue is not a dead-letter queue, a source is unknown or doubtful, or a target is
            the dead-letter queue itself or of the other kind.
    """
    named = {letter.source for letter in letters}
    name = _name(dead_letters)
    if not sources and not named - {None}:
        why = "no redrive policy names it" if sources is not None else "its source queues cannot be listed"
        raise ConfigurationError(
            f"queue {name} is not known to be a dead-letter queue: {why}, and none of its messages has a reason "
            "from fanfold. Check --from"
        )
    routes = {
        source: target or _source(source, dead_letters, sources or ())
        for source in sorted(named, key=lambda n: n or "")
    }
    for route in routes.values():
        _check(route, dead_letters)
    return routes


def _source(named: str | None, dead_letters: str, sources: Sequence[str]) -> str:
    name = _name(dead_letters)
    if named is None:
        if len(sources) == 1:
            return sources[0]
        known = "no redrive policy names it" if not sources else f"it serves {', '.join(map(_name, sources))}"
        raise ConfigurationError(
            f"queue {name} has messages that do not name their source queue, and {known}: specify --to QUEUE"
        )
    if sources and named not in sources:
        raise ConfigurationError(
            f"queue {name} has messages from {named}, whose redrive policy names another dead-letter queue or none: "
            "specify --to QUEUE"
        )
    if named.split(":")[:5] != dead_letters.split(":")[:5]:
        raise ConfigurationError(
            f"queue {name} has messages from {named}, in another account or Region: specify --to QUEUE"
        )
    return named


def _check(target: str, dead_letters: str) -> None:
    if target == dead_letters:
        raise ConfigurationError(f"queue {_name(target)} is the dead-letter queue itself: specify another --to QUEUE")
    if target.endswith(".fifo") != dead_letters.endswith(".fifo"):
        kinds = ("a FIFO queue", "a standard queue")
        first, second = kinds if target.endswith(".fifo") else kinds[::-1]
        raise ConfigurationError(
            f"queue {_name(target)} is {first}, and {_name(dead_letters)} is {second}: choose a target of the same kind"
        )


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]

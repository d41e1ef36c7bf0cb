"""Text about replays, for the terminal and the page: counts, durations, settings, and labels of messages."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_plus

from fanfold._base.aws_limits import MAPPING_SCALING_INITIAL, MAPPING_SCALING_PER_SECOND

_LABEL_CHARACTERS: Final = 60
_KEY_ENDINGS: Final = ("id", "key", "number", "name", "uuid", "ref", "no")
_WORST_FIRST: Final = ("lost", "dead-lettered", "in the queue", "deleted")
_MIN_PREFIX: Final = 6
_MAX_DEPTH: Final = 3


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and a noun: ``1 message``, ``2,000 messages``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Return a duration: ``45 s``, ``12 min``, ``1 h 30 min``, or ``2 min 5 s``."""
    if seconds < 120 or seconds != int(seconds):  # noqa: PLR2004 - two minutes
        return f"{seconds:,g} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number:,} {unit}" for number, unit in parts if number)


def settings_in_words(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a replay, one sentence each."""
    return [sentence[:1].upper() + sentence[1:] + "." for sentence in _sentences(settings)]


def _sentences(settings: Mapping[str, Any]) -> Iterator[str]:
    queue = "a FIFO queue" if settings["fifo"] else "a standard queue"
    receives = counted(settings["max_receive_count"], "receive")
    visibility = duration(settings["visibility_timeout"])
    yield f"{queue} with a visibility timeout of {visibility}; dead letters after {receives}"
    window = settings["window_seconds"]
    batches = f"batches of up to {counted(settings['batch_size'], 'record')}"
    batches += f" within a window of {duration(window)}" if window else ""
    reports = settings["report_batch_item_failures"]
    yield f"{batches}; ReportBatchItemFailures is {'on' if reports else 'off, so the response is ignored'}"
    timeout = duration(settings["function_timeout"])
    yield f"a function with a timeout of {timeout} and {settings['memory_mb']:,} MB; {_concurrency(settings)}"
    yield from _special(settings)
    yield f"seed {settings['seed']}"


def _concurrency(settings: Mapping[str, Any]) -> str:
    most, pollers = settings["maximum_concurrency"], settings.get("pollers")
    parts = [] if most is None else [f"at most {counted(most, 'concurrent invocation')}"]
    if pollers is not None:
        parts = [f"{pollers['minimum']:,} to {pollers['maximum']:,} provisioned pollers"]
    elif settings.get("scales"):
        more = f"{MAPPING_SCALING_PER_SECOND * 60:g} more per minute"
        parts = [f"{MAPPING_SCALING_INITIAL} concurrent invocations at first, {more}", *parts]
    if (reserved := settings.get("reserved_concurrency")) is not None:
        parts.append(f"throttled above its reserved concurrency of {reserved:,}")
    return ", ".join(parts)


def _special(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as in an ordinary replay."""
    outage = settings.get("outage")
    if outage is not None:
        share = "" if outage["share"] == 1 else f" {outage['share'] * 100:g} % of"
        yield f"outage:{share} calls fail for the first {duration(outage['seconds'])}, with {outage['error']}"
    if settings["duplicates"]:
        yield f"{settings['duplicates'] * 100:g} % of the receives are duplicated"
    if not settings["until_empty"]:
        yield "each batch is delivered once"
    if settings.get("concurrent_invocations", 1) > 1:
        count = settings["concurrent_invocations"]
        yield f"Lambda's runtime client runs {counted(count, 'concurrent invocation')} in one execution environment"
    elif settings["runtime_client"]:
        yield "the handler runs under Lambda's runtime client"
    if settings.get("real_idempotency"):
        yield "idempotency uses the table of the handler"


def outcomes_unknown(document: Mapping[str, Any]) -> str:
    """Return why the outcomes of single records are not known; empty if they are."""
    settings = document["settings"]
    if document["consumer"]:
        return ""
    if settings.get("runtime_client") or settings.get("concurrent_invocations", 1) > 1:
        return "under Lambda's runtime client, only the batch response is known for single records"
    return "this handler is not a fanfold consumer: only the batch response is known for single records"


def notable(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the messages that did not simply succeed, the worst first: lost, dead-lettered, left, then redelivered.

    A message succeeds simply if it is deleted at its first receive. Those that the mapping filters out are not listed
    either.
    """
    listed = [message for message in messages if message["end"] != "deleted" or message["receives"] > 1]
    return sorted((message for message in listed if message["end"] in _WORST_FIRST), key=_severity)


def _severity(message: Mapping[str, Any]) -> tuple[int, int]:
    return _WORST_FIRST.index(message["end"]), message["number"]


def unique_prefix_length(ids: Iterable[str]) -> int:
    """Return how many characters identify each of these ids, at least 6; ids that are equal count as one."""
    ordered = sorted(set(ids))
    longest = 0
    for one, other in itertools.pairwise(ordered):
        common = next((n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
        longest = max(longest, common + 1)
    return max(longest, _MIN_PREFIX)


def label_of(body: str) -> str:
    """Return a short text that tells which message this is: a key in its JSON body, or the start of the body.

    The key of a notification is that of what it notifies of: an S3 object, or the message that SNS delivers.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    text = _label(value, _MAX_DEPTH) if isinstance(value, Mapping | list) else None
    return _shortened(text or body)


def _label(value: Any, depth: int) -> str | None:
    if isinstance(value, list):
        return _label(value[0], depth - 1) if value and depth else None
    if not isinstance(value, Mapping):
        return None
    if (notified := _notified(value)) is not None and depth:
        return notified if isinstance(notified, str) else _label(notified, depth - 1)
    scalars = {str(name): item for name, item in value.items() if isinstance(item, str | int | float) and item != ""}
    for ending in _KEY_ENDINGS:
        for name, item in scalars.items():
            if name.lower() == ending or name.lower().endswith(("_" + ending, "-" + ending)) or _camel(name, ending):
                return f"{name}={item}"
    if scalars:
        name, item = next(iter(scalars.items()))
        return f"{name}={item}"
    nested = next((item for item in value.values() if isinstance(item, Mapping)), None)
    return _label(nested, depth - 1) if nested and depth else None


def _notified(value: Mapping[str, Any]) -> Any:
    """Return what a notification is about: an S3 key, the message of SNS, or the detail of EventBridge; else None."""
    s3 = value.get("s3")
    if isinstance(s3, Mapping) and isinstance(s3.get("object"), Mapping):
        return unquote_plus(str(s3["object"].get("key")))
    if "TopicArn" in value and isinstance(value.get("Message"), str):
        return label_of(value["Message"])
    if "detail-type" in value:
        return value.get("detail")
    return value["Records"] if isinstance(value.get("Records"), list) else None


def _camel(name: str, ending: str) -> bool:
    """Return whether a name in camel case ends with a part, as ``orderId`` does."""
    return name.endswith(ending.capitalize()) and name[: -len(ending)][-1:].islower()


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LABEL_CHARACTERS else f"{line[: _LABEL_CHARACTERS - 1]}…"

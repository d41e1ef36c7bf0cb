"""The rule about outages: texts and page. It is checked only for the length of an outage that the user states."""

from __future__ import annotations

from typing import Final

from fanfold.check import on_outages
from fanfold.check.pages import VISIBILITY
from fanfold.check.rule import Rule
from fanfold.check.values import Severity

RULES: Final = (
    Rule(
        "FF035",
        Severity.WARNING,
        "The queue's settings do not survive an outage",
        "While a service that the handler calls is down, every delivery fails, and each one counts as a receive. "
        "Without a breaker, a healthy message has used its last receive after (maxReceiveCount - 1) x "
        "VisibilityTimeout, and is dead-lettered: after 2 minutes with 30 s and 5 receives. The rule is checked only "
        "with `--outage SECONDS`, the length of an outage to survive; 900 is a good start. A template does not show a "
        "backoff, which changes the time between deliveries: `fanfold replay --outage` shows its effect.",
        "Add a breaker to the consumer: it keeps messages invisible while the service is down, and makes them visible "
        "again when it recovers. Or increase VisibilityTimeout or maxReceiveCount; then messages that always fail are "
        "dead-lettered later, too.",
        VISIBILITY,
        "VisibilityTimeout: 361\nRedrivePolicy:\n  deadLetterTargetArn: !GetAtt DeadLetters.Arn\n  maxReceiveCount: 5 "
        "# survives (5 - 1) x 361 s: 24 minutes",
        on_outages.outage_not_survived,
    ),
)

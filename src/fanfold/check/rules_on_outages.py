"""The rules about outages: texts and pages. FF035 is checked only for the length of an outage that the user states."""

from __future__ import annotations

from typing import Final

from fanfold.check import on_outages
from fanfold.check.pages import DEAD_LETTERS, VISIBILITY
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
    Rule(
        "FF036",
        Severity.WARNING,
        "The breaker does not know the queue's maxReceiveCount",
        "While a service is down, a breaker of fanfold keeps messages invisible for as long as their receives allow, "
        "and processes or copies a message on its last receive. It knows the number from FANFOLD_MAX_RECEIVE_COUNT. "
        "Without the variable, or with another number, healthy messages are dead-lettered in an outage.",
        "Set FANFOLD_MAX_RECEIVE_COUNT in the environment of the function to the maxReceiveCount of its queue.",
        DEAD_LETTERS,
        'FANFOLD_BREAKER_TABLE: !Ref Breakers\nFANFOLD_MAX_RECEIVE_COUNT: "5" # the maxReceiveCount of the queue',
        on_outages.receives_not_known,
    ),
)

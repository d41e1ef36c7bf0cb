"""The table of rules: the problem, its effect on messages, the fix, and the page of the AWS documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fanfold.check import on_functions, on_mappings, on_queues
from fanfold.check.values import Hit, Model, NotKnown, Severity


@dataclass(frozen=True)
class Page:
    """A page of the AWS documentation."""

    title: str
    url: str


@dataclass(frozen=True)
class Rule:
    """A rule of ``fanfold check``."""

    id: str
    """Does not change between releases."""
    severity: Severity
    title: str
    """The problem in brief."""
    reason: str
    """The effect on messages."""
    fix: str
    """The setting to change."""
    page: Page
    """The source of the rule."""
    example: str
    """YAML that passes the rule."""
    check: Callable[[Model], Iterator[Hit | NotKnown]]
    """A pure function that yields the problems in a model, and the settings that it could not read."""


_LAMBDA: Final = "https://docs.aws.amazon.com/lambda/latest/dg"
_SQS: Final = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide"
_ERRORS = Page("Handling errors for an SQS event source in Lambda", f"{_LAMBDA}/services-sqs-errorhandling.html")
_CONFIGURE = Page(
    "Creating and configuring an Amazon SQS event source mapping", f"{_LAMBDA}/services-sqs-configure.html"
)
_PARAMETERS = Page("Lambda parameters for Amazon SQS event source mappings", f"{_LAMBDA}/services-sqs-parameters.html")
_SCALING = Page("Configuring scaling behavior for SQS event source mappings", f"{_LAMBDA}/services-sqs-scaling.html")
_MEMORY = Page("Configure Lambda function memory", f"{_LAMBDA}/configuration-memory.html")
_RECURSION = Page(
    "Use Lambda recursive loop detection to prevent infinite loops", f"{_LAMBDA}/invocation-recursion.html"
)
_FILTERING = Page("Using event filtering with an Amazon SQS event source", f"{_LAMBDA}/with-sqs-filtering.html")
_MAPPING = Page(
    "CreateEventSourceMapping", "https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html"
)
_BATCHING = Page(
    "How Lambda processes records from stream and queue-based event sources",
    f"{_LAMBDA}/invocation-eventsourcemapping.html",
)
_RETENTION = Page(
    "Setting-up dead-letter queue retention in Amazon SQS", f"{_SQS}/setting-up-dead-letter-queue-retention.html"
)
_CONSOLE = Page(
    "Configure a dead-letter queue using the Amazon SQS console", f"{_SQS}/sqs-configure-dead-letter-queue.html"
)
_DEAD_LETTERS = Page("Using dead-letter queues in Amazon SQS", f"{_SQS}/sqs-dead-letter-queues.html")
_ACTIONS = Page(
    "Amazon SQS API permissions: Actions and resource reference", f"{_SQS}/sqs-api-permissions-reference.html"
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "FF001",
        Severity.ERROR,
        "Failed messages are not reported",
        "Without ReportBatchItemFailures, Lambda ignores the list of failed messages in the response. If the handler "
        "returns such a list, as a fanfold handler does, Lambda deletes the whole batch and the failed messages are "
        "lost. If the handler raises an error, the whole batch is redelivered, including the messages that succeeded.",
        "Set FunctionResponseTypes to [ReportBatchItemFailures], and return the ids of the failed messages.",
        _ERRORS,
        "FunctionResponseTypes: [ReportBatchItemFailures]",
        on_mappings.failures_not_reported,
    ),
    Rule(
        "FF002",
        Severity.INFO,
        "A single failed message is not reported",
        "With a batch size of 1, a handler that raises an error on failure is safe without ReportBatchItemFailures. A "
        "handler that returns the failed ids, as a fanfold handler does, is not: Lambda ignores the response and "
        "deletes the message. The template does not show which kind of handler it is. (If the function's environment "
        "contains FANFOLD_… variables, the rule is FF001.)",
        "Set FunctionResponseTypes to [ReportBatchItemFailures]. A handler that raises an error behaves as before.",
        _ERRORS,
        "BatchSize: 1\nFunctionResponseTypes: [ReportBatchItemFailures]",
        on_mappings.batch_of_one_not_reported,
    ),
    Rule(
        "FF003",
        Severity.ERROR,
        "Visibility timeout below the function's timeout",
        "A message becomes visible again while the first invocation is still running, and is processed a second time. "
        "Each delivery counts as a receive, so the message can end up in the dead-letter queue. Lambda rejects "
        "such a mapping.",
        "Set the queue's VisibilityTimeout to 6 times the function's Timeout plus the batching window.",
        _CONFIGURE,
        "VisibilityTimeout: 360 # 6 x a Timeout of 60",
        on_queues.visibility_below_timeout,
    ),
    Rule(
        "FF004",
        Severity.WARNING,
        "Visibility timeout below 6 x timeout + window",
        "The visibility timeout starts when Lambda receives a message, before the batching window. If the function is "
        "throttled, Lambda retries the batch until the visibility timeout ends. If that time is too short, messages "
        "are redelivered before an attempt has finished, or even started, and every delivery counts as a receive.",
        "Set the queue's VisibilityTimeout to 6 times the function's Timeout plus MaximumBatchingWindowInSeconds.",
        _CONFIGURE,
        "VisibilityTimeout: 365 # 6 x a Timeout of 60, + a window of 5",
        on_queues.visibility_below_advice,
    ),
    Rule(
        "FF005",
        Severity.ERROR,
        "Batch size above 10 without a batching window",
        "Lambda rejects a mapping with a batch size above 10 and a batching window of less than 1 second.",
        "Set MaximumBatchingWindowInSeconds to a value from 1 to 300, or BatchSize to 10 or less.",
        _MAPPING,
        "BatchSize: 1000\nMaximumBatchingWindowInSeconds: 5",
        on_mappings.batch_without_window,
    ),
    Rule(
        "FF006",
        Severity.ERROR,
        "Batching window or batch size above 10 on a FIFO queue",
        "For a FIFO queue, Lambda supports batches of at most 10 messages and no batching window. It rejects the "
        "mapping.",
        "Set BatchSize to 10 or less, and remove MaximumBatchingWindowInSeconds.",
        _PARAMETERS,
        "BatchSize: 10",
        on_mappings.fifo_batch_too_large,
    ),
    Rule(
        "FF007",
        Severity.ERROR,
        "No dead-letter queue",
        "A message that always fails is redelivered until its retention period ends; then SQS deletes it without "
        "notice. Until then it uses capacity that other messages need. (A queue that is itself a dead-letter queue "
        "needs none.)",
        "Add a dead-letter queue of the same type, and a RedrivePolicy with a maxReceiveCount of 5 or more.",
        _DEAD_LETTERS,
        "RedrivePolicy:\n  deadLetterTargetArn: !GetAtt DeadLetters.Arn\n  maxReceiveCount: 5",
        on_queues.no_dead_letter_queue,
    ),
    Rule(
        "FF008",
        Severity.WARNING,
        "maxReceiveCount below 5",
        "Every delivery counts as a receive, even if the invocation was throttled, its execution environment crashed, "
        "or the invocation was about to time out before the message was started. With a low maxReceiveCount, healthy "
        "messages are sent to the dead-letter queue.",
        "Set maxReceiveCount to 5 or more.",
        _CONFIGURE,
        "RedrivePolicy:\n  deadLetterTargetArn: !GetAtt DeadLetters.Arn\n  maxReceiveCount: 5",
        on_queues.too_few_receives,
    ),
    Rule(
        "FF009",
        Severity.WARNING,
        "Retention of the dead-letter queue is too short",
        "A message of a standard queue keeps its original send time when it moves to the dead-letter queue, so the "
        "time that it spent in the source queue counts towards its retention period. It can expire before anyone sees "
        "it.",
        "Set the dead-letter queue's MessageRetentionPeriod to more than the source queue's. The maximum is 14 days.",
        _RETENTION,
        "MessageRetentionPeriod: 1209600 # 14 days; the source queue has the default of 4 days",
        on_queues.dead_letters_expire,
    ),
    Rule(
        "FF010",
        Severity.ERROR,
        "Dead-letter queue of a different type",
        "The dead-letter queue of a FIFO queue must be a FIFO queue, and that of a standard queue a standard queue. "
        "SQS rejects any other RedrivePolicy.",
        "Make both queues FIFO, or both standard.",
        _CONSOLE,
        "DeadLetters:\n  Type: AWS::SQS::Queue\n  Properties:\n    FifoQueue: true # as the source",
        on_queues.dead_letter_type_differs,
    ),
    Rule(
        "FF011",
        Severity.ERROR,
        "Maximum concurrency outside 2 to 1,000",
        "Lambda rejects such a MaximumConcurrency. To process one message at a time, use a FIFO queue with a single "
        "message group.",
        "Set MaximumConcurrency to a value from 2 to 1,000, or remove it.",
        _SCALING,
        "ScalingConfig:\n  MaximumConcurrency: 2",
        on_mappings.concurrency_out_of_range,
    ),
    Rule(
        "FF012",
        Severity.WARNING,
        "Maximum concurrency above the reserved concurrency",
        "Lambda receives more batches than the function can process. The excess invocations are throttled, and each "
        "throttled delivery counts as a receive, so healthy messages can end up in the dead-letter queue. The values "
        "of all mappings of a function add up.",
        "Set ReservedConcurrentExecutions to at least the sum of MaximumConcurrency over all mappings of the function.",
        _SCALING,
        "ReservedConcurrentExecutions: 20\n# in the event:\nScalingConfig:\n  MaximumConcurrency: 20",
        on_mappings.concurrency_above_reserved,
    ),
    Rule(
        "FF013",
        Severity.ERROR,
        "Maximum concurrency with provisioned mode",
        "A mapping can have a MaximumConcurrency or provisioned pollers. Lambda rejects a mapping with both.",
        "Remove ScalingConfig and limit the pollers with MaximumPollers, or remove ProvisionedPollerConfig.",
        _SCALING,
        "ProvisionedPollerConfig:\n  MinimumPollers: 2\n  MaximumPollers: 20",
        on_mappings.concurrency_and_pollers,
    ),
    Rule(
        "FF014",
        Severity.WARNING,
        "Too little memory for this concurrency",
        "FANFOLD_CONCURRENCY handlers run in one process. If the process runs out of memory, Lambda ends it and the "
        "whole batch is redelivered. Before that point, fanfold's memory guard stops starting records, so fewer "
        "handlers run than you configured.",
        f"Raise MemorySize to {on_functions.BASE_MB} MB plus {on_functions.HANDLER_MB:g} MB per handler, or decrease "
        "FANFOLD_CONCURRENCY. These figures were measured for handlers that each hold a TLS connection "
        "(benchmarks/limits.py handlers). A handler that only waits needs 2 KB. Data that your handler keeps is extra.",
        _MEMORY,
        "MemorySize: 512\nEnvironment:\n  Variables:\n    FANFOLD_CONCURRENCY: 200",
        on_functions.too_little_memory,
    ),
    Rule(
        "FF015",
        Severity.INFO,
        "The function is not allowed to change the visibility timeout",
        "A backoff or Retry(after=…) changes the visibility timeout of a failed message, which requires "
        "sqs:ChangeMessageVisibility on the queue. Without that permission, the message is redelivered after the "
        "queue's visibility timeout. Neither AWSLambdaSQSQueueExecutionRole nor the policy that SAM adds for an SQS "
        "event includes it. The template does not show whether the code uses a backoff.",
        "Allow sqs:ChangeMessageVisibility on the queue (SAM: SQSPollerPolicy), or ignore this rule if your code uses "
        "neither.",
        _ACTIONS,
        "Policies:\n  - SQSPollerPolicy:\n      QueueName: !GetAtt Jobs.QueueName",
        on_functions.cannot_change_visibility,
    ),
    Rule(
        "FF016",
        Severity.WARNING,
        "The function is not allowed to send to its dead-letter queue",
        "fanfold sends the messages that a handler rejects, with the reason, to FANFOLD_DEAD_LETTER_QUEUE_URL. Without "
        "sqs:SendMessage on that queue, a rejected message is treated as failed: it is redelivered until its "
        "maxReceiveCount is reached, and the reason is lost.",
        "Allow sqs:SendMessage on the dead-letter queue (SAM: SQSSendMessagePolicy).",
        _ACTIONS,
        "Policies:\n  - SQSSendMessagePolicy:\n      QueueName: !GetAtt DeadLetters.QueueName",
        on_functions.cannot_send_dead_letters,
    ),
    Rule(
        "FF017",
        Severity.ERROR,
        "Two mappings on one queue",
        "Each message reaches only one of the functions. Filter criteria lose messages: a mapping deletes the messages "
        "that its filter does not match, including those meant for the other mapping.",
        "Keep one mapping per queue. For several readers, give each its own queue, subscribe the queues to an SNS "
        "topic, and filter in the subscriptions.",
        _FILTERING,
        "# one topic, and one queue with a subscription for each reader\n"
        "Type: AWS::SNS::Subscription\nProperties:\n  Protocol: sqs\n  TopicArn: !Ref Orders\n"
        "  Endpoint: !GetAtt Invoices.Arn",
        on_mappings.two_mappings,
    ),
    Rule(
        "FF018",
        Severity.INFO,
        "Batch size x message size over 6 MB",
        "Lambda passes at most 6 MB to a function, so a batch of messages of the maximum size ends before it reaches "
        "the batch size. No message is lost. The rule applies only if the template sets both sizes.",
        "Decrease BatchSize or MaximumMessageSize, or ignore this rule if most messages are small.",
        _BATCHING,
        "BatchSize: 100\n# in the queue:\nMaximumMessageSize: 62000",
        on_mappings.largest_batch_too_large,
    ),
    Rule(
        "FF019",
        Severity.WARNING,
        "The function is allowed to send to the queue that invokes it",
        "Lambda detects when a function sends messages to its own queue, and stops such a loop after about 16 "
        "invocations; the message goes to the dead-letter queue, if the queue has one. The rule considers only policy "
        "statements that name the queue and an action beginning with sqs:Send, and only functions without other "
        "triggers.",
        "Remove the permission, and change the visibility timeout instead of sending a message again. If the loop is "
        "intended and always ends, set RecursiveLoop: Allow.",
        _RECURSION,
        "RecursiveLoop: Allow # the code counts, and forwards each message at most 100 times",
        on_functions.recursion,
    ),
)
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

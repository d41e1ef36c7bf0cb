"""The table of rules: what is looked for, why, how it is mended, and the page of AWS's that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fanfold.check import on_functions, on_mappings, on_queues
from fanfold.check.values import Hit, Model, NotKnown, Severity


@dataclass(frozen=True)
class Page:
    """A page of documentation."""

    title: str
    url: str


@dataclass(frozen=True)
class Rule:
    """One rule."""

    id: str
    """Stays the same from one release to the next."""
    severity: Severity
    title: str
    """What is wrong, in a few words."""
    reason: str
    """What happens then."""
    fix: str
    page: Page
    """What it rests on."""
    example: str
    """YAML that holds."""
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
        "Without ReportBatchItemFailures, Lambda does not read which messages a handler names as failed. One that "
        "names them and returns, as fanfold's does, has all of them deleted: they are lost. One that raises has the "
        "whole batch delivered again, what succeeded too.",
        "Set FunctionResponseTypes to [ReportBatchItemFailures], and have the handler return the ids that failed.",
        _ERRORS,
        "FunctionResponseTypes: [ReportBatchItemFailures]",
        on_mappings.failures_not_reported,
    ),
    Rule(
        "FF002",
        Severity.INFO,
        "A single failed message is not reported",
        "With a batch size of 1, a handler that raises is safe without ReportBatchItemFailures. One that answers with "
        "the ids that failed, as fanfold's does, is not: its answer is not read and the message is deleted. Which it "
        "is cannot be seen in a template. (With FANFOLD_… in the function's environment it can: that is FF001.)",
        "Set FunctionResponseTypes to [ReportBatchItemFailures]; a handler that raises behaves as before.",
        _ERRORS,
        "BatchSize: 1\nFunctionResponseTypes: [ReportBatchItemFailures]",
        on_mappings.batch_of_one_not_reported,
    ),
    Rule(
        "FF003",
        Severity.ERROR,
        "Visibility timeout below the function's timeout",
        "A message becomes visible again, and is worked on a second time, while the first invocation still runs; each "
        "time counts as a receive, until it is a dead letter. Lambda refuses to create such a mapping.",
        "Set the queue's VisibilityTimeout to 6 times the function's Timeout plus the batching window.",
        _CONFIGURE,
        "VisibilityTimeout: 360 # 6 x a Timeout of 60",
        on_queues.visibility_below_timeout,
    ),
    Rule(
        "FF004",
        Severity.WARNING,
        "Visibility timeout below 6 x timeout + window",
        "The clock starts when Lambda receives a message, before the batching window. When the function is throttled, "
        "Lambda tries a batch again within that time; if it is too short, messages come back unfinished, or untried, "
        "with a receive counted.",
        "Set the queue's VisibilityTimeout to 6 times the function's Timeout plus MaximumBatchingWindowInSeconds.",
        _CONFIGURE,
        "VisibilityTimeout: 365 # 6 x a Timeout of 60, + a window of 5",
        on_queues.visibility_below_advice,
    ),
    Rule(
        "FF005",
        Severity.ERROR,
        "A batch of more than 10 without a window",
        "Lambda refuses a batch size over 10 unless the mapping waits at least one second for a batch to fill.",
        "Set MaximumBatchingWindowInSeconds to 1 to 300, or BatchSize to 10 or less.",
        _MAPPING,
        "BatchSize: 1000\nMaximumBatchingWindowInSeconds: 5",
        on_mappings.batch_without_window,
    ),
    Rule(
        "FF006",
        Severity.ERROR,
        "A FIFO queue with a window, or a batch of more than 10",
        "Lambda takes at most 10 messages of a FIFO queue at once and does not wait for more; it refuses the mapping.",
        "Set BatchSize to 10 or less, and no MaximumBatchingWindowInSeconds.",
        _PARAMETERS,
        "BatchSize: 10",
        on_mappings.fifo_batch_too_large,
    ),
    Rule(
        "FF007",
        Severity.ERROR,
        "No dead-letter queue",
        "A message that always fails comes back until its retention is over; then SQS deletes it, and nobody is told. "
        "Until then it takes the place of others. (A queue that is a dead-letter queue itself needs none.)",
        "Add a queue of the same type for dead letters, and a RedrivePolicy with a maxReceiveCount of 5 or more.",
        _DEAD_LETTERS,
        "RedrivePolicy:\n  deadLetterTargetArn: !GetAtt DeadLetters.Arn\n  maxReceiveCount: 5",
        on_queues.no_dead_letter_queue,
    ),
    Rule(
        "FF008",
        Severity.WARNING,
        "maxReceiveCount below 5",
        "Every delivery counts as a receive: one that was throttled, one whose environment died, one that came back as "
        "the time was over before it was started. With few receives, healthy messages become dead letters.",
        "Set maxReceiveCount to 5 or more.",
        _CONFIGURE,
        "RedrivePolicy:\n  deadLetterTargetArn: !GetAtt DeadLetters.Arn\n  maxReceiveCount: 5",
        on_queues.few_receives,
    ),
    Rule(
        "FF009",
        Severity.WARNING,
        "Dead letters are kept no longer than their source's messages",
        "A dead letter of a standard queue keeps the time it was first sent: of its retention, what it spent in the "
        "source queue is gone already. It may be deleted before anybody has seen it.",
        "Set the dead-letter queue's MessageRetentionPeriod above the source's; 14 days is the longest.",
        _RETENTION,
        "MessageRetentionPeriod: 1209600 # 14 days; the source keeps the default 4",
        on_queues.dead_letters_expire,
    ),
    Rule(
        "FF010",
        Severity.ERROR,
        "Dead-letter queue of another type",
        "SQS refuses a FIFO queue whose dead-letter queue is a standard one, and the other way round.",
        "Make both FIFO, or neither.",
        _CONSOLE,
        "DeadLetters:\n  Type: AWS::SQS::Queue\n  Properties:\n    FifoQueue: true # as the source",
        on_queues.dead_letter_type_differs,
    ),
    Rule(
        "FF011",
        Severity.ERROR,
        "Maximum concurrency outside 2 to 1,000",
        "Lambda refuses a mapping with such a MaximumConcurrency. One at a time is a FIFO queue with one message "
        "group, not a maximum of 1.",
        "Set MaximumConcurrency to 2 to 1,000, or leave it out.",
        _SCALING,
        "ScalingConfig:\n  MaximumConcurrency: 2",
        on_mappings.concurrency_out_of_range,
    ),
    Rule(
        "FF012",
        Severity.WARNING,
        "Maximum concurrency above the reserved concurrency",
        "Lambda receives batches for which the function has no room. They are throttled and come back with a receive "
        "counted; healthy messages become dead letters. The maxima of all mappings of a function count together.",
        "Reserve at least as much as the MaximumConcurrency of all the function's mappings together.",
        _SCALING,
        "ReservedConcurrentExecutions: 20\n# in the event:\nScalingConfig:\n  MaximumConcurrency: 20",
        on_mappings.concurrency_above_reserved,
    ),
    Rule(
        "FF013",
        Severity.ERROR,
        "Maximum concurrency with provisioned mode",
        "A mapping has either a MaximumConcurrency or pollers of its own; Lambda refuses both.",
        "Leave out ScalingConfig and bound the pollers with MaximumPollers, or leave out ProvisionedPollerConfig.",
        _SCALING,
        "ProvisionedPollerConfig:\n  MinimumPollers: 2\n  MaximumPollers: 20",
        on_mappings.concurrency_and_pollers,
    ),
    Rule(
        "FF014",
        Severity.WARNING,
        "Little memory for so many handlers at once",
        "FANFOLD_CONCURRENCY handlers run in one process. When it runs out of memory Lambda kills it, and the whole "
        "batch comes back; fanfold's memory guard starts no more records before that, so fewer run than are asked for.",
        f"Raise MemorySize to {on_functions.BASE_MB} MB and {on_functions.HANDLER_MB:g} MB for each handler, or lower "
        "FANFOLD_CONCURRENCY. That is what a handler with a TLS connection of its own was measured to need "
        "(benchmarks/limits.py handlers); one that only waits needs 2 KB, and what a handler keeps comes on top.",
        _MEMORY,
        "MemorySize: 512\nEnvironment:\n  Variables:\n    FANFOLD_CONCURRENCY: 200",
        on_functions.little_memory,
    ),
    Rule(
        "FF015",
        Severity.INFO,
        "The function is not allowed to change visibility",
        "A backoff and Retry(after=…) change how long a failed message stays hidden, with sqs:ChangeMessageVisibility "
        "on the queue. Without that permission the message comes back after the queue's own visibility timeout. "
        "Neither AWSLambdaSQSQueueExecutionRole nor what SAM adds for an SQS event includes it. Whether the code has a "
        "backoff cannot be seen in a template.",
        "Allow sqs:ChangeMessageVisibility on the queue (SAM: SQSPollerPolicy), or ignore this rule if there is no "
        "backoff.",
        _ACTIONS,
        "Policies:\n  - SQSPollerPolicy:\n      QueueName: !GetAtt Jobs.QueueName",
        on_functions.cannot_hide,
    ),
    Rule(
        "FF016",
        Severity.WARNING,
        "The function is not allowed to send to its dead-letter queue",
        "FANFOLD_DEAD_LETTER_QUEUE_URL tells fanfold where to put what a handler rejects, with the reason. Without "
        "sqs:SendMessage there, a rejected message is a failure: it is delivered again and again until the queue gives "
        "up, and its reason is lost.",
        "Allow sqs:SendMessage on that queue (SAM: SQSSendMessagePolicy).",
        _ACTIONS,
        "Policies:\n  - SQSSendMessagePolicy:\n      QueueName: !GetAtt DeadLetters.QueueName",
        on_functions.cannot_send_dead_letters,
    ),
    Rule(
        "FF017",
        Severity.ERROR,
        "Two mappings on one queue",
        "Each message reaches only one of the functions. With filter criteria it is worse: Lambda deletes what a "
        "mapping's filter does not match, also what the other one was meant to get.",
        "Leave one mapping on each queue. For several readers, have an SNS topic send to a queue for each, and filter "
        "there.",
        _FILTERING,
        "# a topic, and for each reader a queue with a subscription\n"
        "Type: AWS::SNS::Subscription\nProperties:\n  Protocol: sqs\n  TopicArn: !Ref Orders\n"
        "  Endpoint: !GetAtt Invoices.Arn",
        on_mappings.two_mappings,
    ),
    Rule(
        "FF018",
        Severity.INFO,
        "Batch size x message size over 6 MB",
        "Lambda hands at most 6 MB to a function: a batch of the largest messages that the queue takes ends before the "
        "batch size is reached. Nothing is lost. The rule speaks only when both sizes are stated in the template.",
        "Lower BatchSize or MaximumMessageSize; ignore it if most messages are small.",
        _BATCHING,
        "BatchSize: 100\n# in the queue:\nMaximumMessageSize: 62000",
        on_mappings.largest_batch_too_large,
    ),
    Rule(
        "FF019",
        Severity.WARNING,
        "The function may send to the queue that calls it",
        "Lambda sees a function that sends to its own queue as a recursion and stops it after about 16 turns; the "
        "message goes to the dead-letter queue, if there is one. Only a statement that names the queue and an action "
        "beginning with sqs:Send counts, and only if nothing else calls the function.",
        "Take the permission away; change visibility instead of sending a message again. If the chain is meant and has "
        "an end, set RecursiveLoop: Allow.",
        _RECURSION,
        "RecursiveLoop: Allow # each message is sent on at most 100 times: the code counts",
        on_functions.recursion,
    ),
)
"""All rules, by id."""

BY_ID: Final[Mapping[str, Rule]] = {rule.id: rule for rule in RULES}


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

{rule.fix}

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

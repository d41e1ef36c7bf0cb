"""The rules about mappings, filters, and scaling: texts and pages."""

from __future__ import annotations

from typing import Final

from fanfold.check import on_filters, on_mappings, on_scaling
from fanfold.check.pages import BATCHING, ERRORS, FILTERING, MAPPING, PARAMETERS, SCALING
from fanfold.check.rule import Rule
from fanfold.check.values import Severity

RULES: Final = (
    Rule(
        "FF001",
        Severity.ERROR,
        "Failed messages are not reported",
        "Without ReportBatchItemFailures, Lambda ignores the list of failed messages in the response. If the handler "
        "returns such a list, as a fanfold handler does, Lambda deletes the whole batch and the failed messages are "
        "lost. If the handler raises an error, the whole batch is redelivered, including the messages that succeeded. "
        "An EventBridge pipe always reads the list, unless it invokes the function with FIRE_AND_FORGET: then it "
        "deletes the batch before the function has processed it.",
        "Set FunctionResponseTypes to [ReportBatchItemFailures], and return the ids of the failed messages. In a "
        "pipe, set InvocationType to REQUEST_RESPONSE.",
        ERRORS,
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
        ERRORS,
        "BatchSize: 1\nFunctionResponseTypes: [ReportBatchItemFailures]",
        on_mappings.batch_of_one_not_reported,
    ),
    Rule(
        "FF005",
        Severity.ERROR,
        "Batch size above 10 without a batching window",
        "Lambda rejects a mapping with a batch size above 10 and a batching window of less than 1 second.",
        "Set MaximumBatchingWindowInSeconds to a value from 1 to 300, or BatchSize to 10 or less.",
        MAPPING,
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
        PARAMETERS,
        "BatchSize: 10",
        on_mappings.fifo_batch_too_large,
    ),
    Rule(
        "FF011",
        Severity.ERROR,
        "Maximum concurrency outside 2 to 1,000",
        "Lambda rejects such a MaximumConcurrency. To process one message at a time, use a FIFO queue with a single "
        "message group.",
        "Set MaximumConcurrency to a value from 2 to 1,000, or remove it.",
        SCALING,
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
        SCALING,
        "ReservedConcurrentExecutions: 20\n# in the event:\nScalingConfig:\n  MaximumConcurrency: 20",
        on_mappings.concurrency_above_reserved,
    ),
    Rule(
        "FF013",
        Severity.ERROR,
        "Maximum concurrency with provisioned mode",
        "A mapping can have a MaximumConcurrency or provisioned pollers. Lambda rejects a mapping with both.",
        "Remove ScalingConfig and limit the pollers with MaximumPollers, or remove ProvisionedPollerConfig.",
        SCALING,
        "ProvisionedPollerConfig:\n  MinimumPollers: 2\n  MaximumPollers: 20",
        on_mappings.concurrency_and_pollers,
    ),
    Rule(
        "FF017",
        Severity.ERROR,
        "Two mappings on one queue",
        "Each message reaches only one of the functions. Filter criteria lose messages: a mapping deletes the messages "
        "that its filter does not match, including those meant for the other mapping.",
        "Keep one mapping per queue. For several readers, give each its own queue, subscribe the queues to an SNS "
        "topic, and filter in the subscriptions.",
        FILTERING,
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
        BATCHING,
        "BatchSize: 100\n# in the queue:\nMaximumMessageSize: 62000",
        on_mappings.largest_batch_too_large,
    ),
    Rule(
        "FF020",
        Severity.ERROR,
        "Filter on something other than the body",
        "Filters of an SQS mapping support only the body of a message. A filter on message attributes or other "
        "properties does not do what it states, and Lambda deletes every message that no filter matches: it reaches "
        "neither the function nor the dead-letter queue. Lambda rejects a pattern that is not a JSON object, "
        "and a field of it that has a value instead of a list of rules.",
        "Filter on body (its content must be JSON), filter in the subscription of an SNS topic, or check the "
        "attributes in the handler.",
        FILTERING,
        'FilterCriteria:\n  Filters:\n    - Pattern: \'{"body": {"kind": ["order"]}}\'',
        on_filters.not_on_body,
    ),
    Rule(
        "FF021",
        Severity.INFO,
        "A filter deletes the messages that it does not match",
        "Lambda deletes a message that matches no filter of its mapping, as if the function had processed it: it is "
        "not redelivered, and not sent to the dead-letter queue. EventBridge Pipes do the same. If a message can have "
        "a form that the filter does not expect, such as a body that is not JSON, it is lost.",
        "Keep the filter if the queue contains messages that nothing needs; ignore this rule for that mapping. "
        "Otherwise remove it, and filter in the subscription of an SNS topic or in the handler. MetricsConfig with "
        "EventCount counts the messages that a filter removes.",
        FILTERING,
        "# in the mapping\nMetadata:\n  fanfold:\n    ignore: [FF021]",
        on_filters.filter_deletes,
    ),
    Rule(
        "FF022",
        Severity.WARNING,
        "Reserved concurrency without a maximum concurrency",
        "A mapping without MaximumConcurrency scales to 1,250 concurrent invocations, and in provisioned mode to 10 "
        "for each poller. If the function has a lower reserved concurrency, Lambda throttles the excess. Each "
        "throttled delivery counts as a receive, so healthy messages can end up in the dead-letter queue without "
        "having been processed. With a reserved concurrency of 0, all of them do. A mapping for a FIFO queue has one "
        "invocation at a time for each message group.",
        "Set MaximumConcurrency of the mapping (at least 2) to the reserved concurrency or less. In provisioned mode, "
        "set MaximumPollers to a tenth of it. To stop a function, disable its mapping. To process one message at a "
        "time, use a FIFO queue with a single message group.",
        SCALING,
        "ReservedConcurrentExecutions: 20\n# in the event:\nScalingConfig:\n  MaximumConcurrency: 20",
        on_scaling.throttled_by_reserved,
    ),
    Rule(
        "FF026",
        Severity.ERROR,
        "Number of pollers out of range",
        "In provisioned mode, Lambda accepts 2 to 200 MinimumPollers and 2 to 10,000 MaximumPollers for an SQS queue, "
        "and no minimum above the maximum. It rejects any other mapping.",
        "Set MinimumPollers to a value from 2 to 200, and MaximumPollers to a value from MinimumPollers to 10,000.",
        SCALING,
        "ProvisionedPollerConfig:\n  MinimumPollers: 2\n  MaximumPollers: 20",
        on_scaling.pollers_out_of_range,
    ),
    Rule(
        "FF030",
        Severity.INFO,
        "The mapping is disabled",
        "Nothing reads the queue. Its messages wait until their retention period ends (4 days by default); then SQS "
        "deletes them without notice, and does not send them to the dead-letter queue.",
        "Set Enabled: true. If the mapping is disabled on purpose, set a MessageRetentionPeriod that outlasts the "
        "pause, and ignore this rule.",
        MAPPING,
        "Enabled: true",
        on_mappings.disabled,
    ),
    Rule(
        "FF031",
        Severity.ERROR,
        "Stream property on an SQS mapping",
        "Properties such as StartingPosition, ParallelizationFactor, BisectBatchOnFunctionError, "
        "MaximumRetryAttempts, and DestinationConfig are for streams and message brokers. Lambda rejects them in a "
        "mapping of an SQS queue. An SQS queue limits retries by the maxReceiveCount of its RedrivePolicy, and has a "
        "dead-letter queue instead of a destination.",
        "Remove the property.",
        MAPPING,
        "EventSourceArn: !GetAtt Jobs.Arn\nFunctionName: !Ref Work\nFunctionResponseTypes: [ReportBatchItemFailures]",
        on_mappings.stream_settings,
    ),
)

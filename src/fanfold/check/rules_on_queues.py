"""The rules about queues and dead-letter queues: texts and pages."""

from __future__ import annotations

from typing import Final

from fanfold.check import on_queues, on_senders
from fanfold.check.pages import CONFIGURE, CONSOLE, DEAD_LETTERS, KEYS, POLICIES, RETENTION
from fanfold.check.rule import Rule
from fanfold.check.values import Severity

RULES: Final = (
    Rule(
        "FF003",
        Severity.ERROR,
        "Visibility timeout below the function's timeout",
        "A message becomes visible again while the first invocation is still running, and is processed a second time. "
        "Each delivery counts as a receive, so the message can end up in the dead-letter queue. Lambda rejects "
        "such a mapping.",
        "Set the queue's VisibilityTimeout to 6 times the function's Timeout plus the batching window.",
        CONFIGURE,
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
        CONFIGURE,
        "VisibilityTimeout: 365 # 6 x a Timeout of 60, + a window of 5",
        on_queues.visibility_below_advice,
    ),
    Rule(
        "FF007",
        Severity.ERROR,
        "No dead-letter queue",
        "A message that always fails is redelivered until its retention period ends; then SQS deletes it without "
        "notice. Until then it uses capacity that other messages need. (A queue that is itself a dead-letter queue "
        "needs none.)",
        "Add a dead-letter queue of the same type, and a RedrivePolicy with a maxReceiveCount of 5 or more.",
        DEAD_LETTERS,
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
        CONFIGURE,
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
        RETENTION,
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
        CONSOLE,
        "DeadLetters:\n  Type: AWS::SQS::Queue\n  Properties:\n    FifoQueue: true # as the source",
        on_queues.dead_letter_type_differs,
    ),
    Rule(
        "FF024",
        Severity.ERROR,
        "A service may not use the key of the queue",
        "The queue is encrypted with a KMS key whose policy does not include SNS, S3, or EventBridge, but the "
        "template has one of them send to it. Messages of SNS and EventBridge are lost (unless the subscription or "
        "the target has a dead-letter queue), and S3 rejects the notification. The policy of the AWS managed key, "
        "alias/aws/sqs, includes none of them and cannot be changed.",
        "Use SqsManagedSseEnabled: true instead of a KMS key, or a customer managed key whose policy allows the "
        "service kms:GenerateDataKey and kms:Decrypt.",
        KEYS,
        "SqsManagedSseEnabled: true",
        on_senders.service_without_key,
    ),
    Rule(
        "FF025",
        Severity.ERROR,
        "A service is not allowed to send to the queue",
        "The template has an SNS topic, an S3 bucket, or an EventBridge rule send to the queue, but no policy of the "
        "queue allows it. Messages of SNS and EventBridge are lost without an error in your code (unless the "
        "subscription or the target has a dead-letter queue), and S3 rejects the notification. The conditions of "
        "policy statements are not evaluated.",
        "Add an AWS::SQS::QueuePolicy that allows sqs:SendMessage to the service (sns.amazonaws.com, "
        "s3.amazonaws.com, or events.amazonaws.com), with aws:SourceArn as condition. (SAM: SqsSubscription or a "
        "connector adds it.)",
        POLICIES,
        "Type: AWS::SQS::QueuePolicy\nProperties:\n  Queues: [!Ref Jobs]\n  PolicyDocument:\n    Statement:\n"
        "      - Effect: Allow\n        Principal: { Service: sns.amazonaws.com }\n        Action: sqs:SendMessage\n"
        "        Resource: !GetAtt Jobs.Arn\n        Condition: { ArnEquals: { aws:SourceArn: !Ref Orders } }",
        on_senders.service_not_admitted,
    ),
    Rule(
        "FF032",
        Severity.ERROR,
        "Dead-letter queue that leads back",
        "If a queue is its own dead-letter queue, messages that always fail never leave it. If the queue is also the "
        "dead-letter queue of the function that reads it (DeadLetterConfig, for asynchronous invocations), a failed "
        "event invokes the function again.",
        "Use a separate dead-letter queue that nothing reads automatically.",
        DEAD_LETTERS,
        "RedrivePolicy:\n  deadLetterTargetArn: !GetAtt DeadLetters.Arn\n  maxReceiveCount: 5",
        on_queues.dead_letters_return,
    ),
    Rule(
        "FF033",
        Severity.WARNING,
        "The same function reads the queue and its dead-letter queue",
        "The dead-letter queue keeps the messages that the function could not process. If the same function reads it, "
        "they fail again, because nothing was fixed, and end up in a further dead-letter queue or are lost.",
        "Remove the mapping of the dead-letter queue, and redrive the messages after the fix. To retry later, use a "
        "backoff. To inspect dead-lettered messages automatically, use another function.",
        DEAD_LETTERS,
        "# an event for Orders, none for its dead letters\nType: SQS\nProperties:\n  Queue: !GetAtt Orders.Arn",
        on_queues.same_function_reads_dead_letters,
    ),
)

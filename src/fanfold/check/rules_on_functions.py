"""The rules about functions: texts and pages."""

from __future__ import annotations

from typing import Final

from fanfold.check import on_functions, on_limits
from fanfold.check.pages import ACTIONS, CONFIGURE, DURABLE, MEMORY, QUOTAS, RECURSION, TENANTS, TIMEOUT
from fanfold.check.rule import Rule
from fanfold.check.values import Severity

RULES: Final = (
    Rule(
        "FF014",
        Severity.WARNING,
        "Too little memory for this concurrency",
        "FANFOLD_CONCURRENCY handlers run in one process. If the process runs out of memory, Lambda ends it and the "
        "whole batch is redelivered. Before that point, fanfold's memory guard stops starting records, so fewer "
        "handlers run than you configured. On Managed Instances, the processes of an execution environment share its "
        "memory: one for each concurrent invocation, 16 for each vCPU by default.",
        f"Raise MemorySize to {on_functions.BASE_MB} MB plus {on_functions.HANDLER_MB:g} MB per handler, for each "
        "process, or decrease FANFOLD_CONCURRENCY. These figures were measured for handlers that each hold a TLS "
        "connection (benchmarks/limits.py handlers). A handler that only waits needs 2 KB. Data that your handler "
        "keeps is extra.",
        MEMORY,
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
        ACTIONS,
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
        ACTIONS,
        "Policies:\n  - SQSSendMessagePolicy:\n      QueueName: !GetAtt DeadLetters.QueueName",
        on_functions.cannot_send_dead_letters,
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
        RECURSION,
        "RecursiveLoop: Allow # the code counts, and forwards each message at most 100 times",
        on_functions.recursion,
    ),
    Rule(
        "FF023",
        Severity.ERROR,
        "The function is not allowed to poll its queue",
        "Lambda reads the queue with the role of the function, which needs sqs:ReceiveMessage, sqs:DeleteMessage, and "
        "sqs:GetQueueAttributes on it. Lambda rejects a mapping without these permissions; without sqs:DeleteMessage, "
        "every message is processed again and again. An EventBridge pipe needs the same permissions in its own role.",
        "Attach AWSLambdaSQSQueueExecutionRole to the role, or a policy with these actions (SAM: SQSPollerPolicy). An "
        "event of type SQS in a SAM function without Role has them already.",
        CONFIGURE,
        "ManagedPolicyArns:\n  - arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole",
        on_functions.cannot_poll,
    ),
    Rule(
        "FF027",
        Severity.ERROR,
        "Tenant isolation behind a mapping",
        "A function with TenantIsolationMode PER_TENANT needs a tenant id in each invocation. Event source mappings "
        "and pipes cannot pass one, so they cannot invoke the function.",
        "Use a function without TenancyConfig. To keep one tenant from delaying the others, use a fair queue "
        "(MessageGroupId), and tenant_concurrency in fanfold.",
        TENANTS,
        "Environment:\n  Variables:\n    TENANT_CONCURRENCY: 10 # read by the code; no TenancyConfig",
        on_limits.isolated_by_tenant,
    ),
    Rule(
        "FF028",
        Severity.ERROR,
        "Durable execution longer than an invocation",
        "A mapping invokes a durable function synchronously and waits for the whole execution, including its waits. "
        "An execution that takes longer than the maximum function timeout (1,800 s; 5,400 s on Managed Instances) "
        "times out, and the batch is redelivered.",
        "Set ExecutionTimeout to at most that limit, or let a small function start the durable one asynchronously.",
        DURABLE,
        "DurableConfig:\n  ExecutionTimeout: 900",
        on_limits.durable_too_long,
    ),
    Rule(
        "FF029",
        Severity.WARNING,
        "More handlers than file descriptors",
        "A process on Lambda has 1,024 file descriptors, and fanfold reserves 64 of them. It starts no more handlers "
        "than the rest, since each usually opens a connection, and logs a warning: fewer handlers run than you "
        "configured. On Managed Instances, this applies to each process; the memory of all processes together is "
        "FF014.",
        "Set FANFOLD_CONCURRENCY to 960 or less, and let Lambda run more invocations concurrently.",
        QUOTAS,
        "Environment:\n  Variables:\n    FANFOLD_CONCURRENCY: 500",
        on_limits.too_few_descriptors,
    ),
    Rule(
        "FF034",
        Severity.ERROR,
        "Timeout or memory above the limit",
        "The longest timeout of a function is 1,800 s; on Managed Instances it is 5,400 s for invocations by "
        "mappings. The maximum memory is 10,240 MB, and 32,768 MB on Managed Instances. Lambda rejects higher values. "
        "Six times the longest timeout, plus the longest window, is within the maximum visibility timeout of 12 hours.",
        "Decrease Timeout or MemorySize, or run the function on Managed Instances (CapacityProviderConfig).",
        TIMEOUT,
        "Timeout: 1800\nMemorySize: 10240",
        on_limits.above_limit,
    ),
)

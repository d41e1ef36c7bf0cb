"""The pages of the AWS documentation that the rules follow."""

from __future__ import annotations

from typing import Final

from fanfold.check.rule import Page

_LAMBDA: Final = "https://docs.aws.amazon.com/lambda/latest/dg"
_SQS: Final = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide"
ERRORS = Page("Handling errors for an SQS event source in Lambda", f"{_LAMBDA}/services-sqs-errorhandling.html")
CONFIGURE = Page(
    "Creating and configuring an Amazon SQS event source mapping", f"{_LAMBDA}/services-sqs-configure.html"
)
PARAMETERS = Page("Lambda parameters for Amazon SQS event source mappings", f"{_LAMBDA}/services-sqs-parameters.html")
SCALING = Page("Configuring scaling behavior for SQS event source mappings", f"{_LAMBDA}/services-sqs-scaling.html")
MEMORY = Page("Configure Lambda function memory", f"{_LAMBDA}/configuration-memory.html")
RECURSION = Page(
    "Use Lambda recursive loop detection to prevent infinite loops", f"{_LAMBDA}/invocation-recursion.html"
)
FILTERING = Page("Using event filtering with an Amazon SQS event source", f"{_LAMBDA}/with-sqs-filtering.html")
MAPPING = Page(
    "CreateEventSourceMapping", "https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html"
)
BATCHING = Page(
    "How Lambda processes records from stream and queue-based event sources",
    f"{_LAMBDA}/invocation-eventsourcemapping.html",
)
RETENTION = Page(
    "Setting-up dead-letter queue retention in Amazon SQS", f"{_SQS}/setting-up-dead-letter-queue-retention.html"
)
CONSOLE = Page(
    "Configure a dead-letter queue using the Amazon SQS console", f"{_SQS}/sqs-configure-dead-letter-queue.html"
)
VISIBILITY = Page("Amazon SQS visibility timeout", f"{_SQS}/sqs-visibility-timeout.html")
DEAD_LETTERS = Page("Using dead-letter queues in Amazon SQS", f"{_SQS}/sqs-dead-letter-queues.html")
ACTIONS = Page(
    "Amazon SQS API permissions: Actions and resource reference", f"{_SQS}/sqs-api-permissions-reference.html"
)
TENANTS = Page("Tenant isolation", f"{_LAMBDA}/tenant-isolation.html")
DURABLE = Page("Event source mappings with durable functions", f"{_LAMBDA}/durable-invoking-esm.html")
MANAGED_INSTANCES = Page(
    "Python runtime for Lambda Managed Instances", f"{_LAMBDA}/lambda-managed-instances-python-runtime.html"
)
TIMEOUT = Page("Configure Lambda function timeout", f"{_LAMBDA}/configuration-timeout.html")
QUOTAS = Page("Lambda quotas", f"{_LAMBDA}/gettingstarted-limits.html")
KEYS = Page("Amazon SQS key management", f"{_SQS}/sqs-key-management.html")
POLICIES = Page("Basic examples of Amazon SQS policies", f"{_SQS}/sqs-basic-examples-of-sqs-policies.html")

"""Terraform plans as JSON, for tests of ``fanfold check``."""

from typing import Any

DEAD = {"name": "dead", "fifo_queue": False, "visibility_timeout_seconds": 30, "message_retention_seconds": 1209600}
QUEUE = {**DEAD, "name": "jobs", "visibility_timeout_seconds": 360, "message_retention_seconds": 345600}
QUEUE |= {"max_message_size": 262144}
FUNCTION = {"function_name": "work", "timeout": 60, "memory_size": 512, "reserved_concurrent_executions": -1}
MAPPING = {"function_name": "work", "batch_size": 10, "function_response_types": ["ReportBatchItemFailures"]}
REDRIVE = {"redrive_policy": ["aws_sqs_queue.dead.arn", "aws_sqs_queue.dead", "local.receives"]}
SOURCE = {"event_source_arn": ["aws_sqs_queue.jobs.arn", "aws_sqs_queue.jobs"]}


def resource(address: str, values: dict[str, Any]) -> dict[str, Any]:
    kind = address.rpartition(".")[0].rpartition(".")[2]
    return {"address": address, "mode": "managed", "type": kind, "values": values}


def configured(address: str, references: dict[str, list[str]]) -> dict[str, Any]:
    expressions = {name: {"references": names} for name, names in references.items()}
    return {"address": address, "expressions": {**expressions, "name": {"constant_value": "jobs"}}}


def plan(queue: Any = (), function: Any = (), mapping: Any = (), **more: Any) -> dict[str, Any]:
    """Return a plan of a queue, its dead-letter queue, a function, and a mapping, with some values changed."""
    references = {
        "aws_sqs_queue.jobs": REDRIVE,
        "aws_lambda_event_source_mapping.jobs": SOURCE,
        **more.pop("references", {}),
    }
    resources = [
        resource("aws_sqs_queue.dead", DEAD),
        resource("aws_sqs_queue.jobs", QUEUE | dict(queue)),
        resource("aws_lambda_function.work", FUNCTION | dict(function)),
        resource("aws_lambda_event_source_mapping.jobs", MAPPING | dict(mapping)),
        {"address": "data.aws_region.here", "mode": "data", "type": "aws_region"},
        *more.pop("resources", []),
    ]
    module = {"resources": [configured(address, names) for address, names in references.items()]}
    return {
        "format_version": "1.2",
        "planned_values": {"root_module": {"resources": resources, **more}},
        "configuration": {"root_module": {**module, "module_calls": {"inner": {"module": module}}}},
    }

"""``aws_limits`` agrees with the API models of the installed botocore: if AWS moves a limit, a test fails."""

import re
from functools import cache
from typing import Any

import pytest
from botocore.loaders import Loader

from fanfold._base import aws_limits
from fanfold._base.aws_limits import cpus_of


@cache
def shapes(service: str) -> dict[str, Any]:
    return Loader().load_service_model(service, "service-2")["shapes"]


def text(service: str, shape: str, member: str) -> str:
    """Return the documentation of a member, without markup and with single spaces."""
    markup = shapes(service)[shape]["members"][member]["documentation"]
    return " ".join(re.sub("<[^>]+>", "", markup).split())


def number(pattern: str, documentation: str) -> int:
    """Return the number that a pattern finds, without its thousands separators."""
    match = re.search(pattern, documentation)
    assert match, f"{pattern!r} is not in: {documentation}"
    return int(match[1].replace(",", ""))


RANGES = [
    ("lambda", "Timeout", (1, aws_limits.MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS)),
    ("lambda", "MemorySize", (aws_limits.LAMBDA_MIN_MEMORY_MB, aws_limits.MANAGED_INSTANCES_MAX_MEMORY_MB)),
    ("lambda", "BatchSize", (1, aws_limits.MAPPING_MAX_BATCH_SIZE)),
    ("lambda", "MaximumBatchingWindowInSeconds", (0, aws_limits.MAPPING_MAX_WINDOW_SECONDS)),
    ("lambda", "MaximumConcurrency", (aws_limits.MAPPING_MIN_CONCURRENCY, aws_limits.MAPPING_MAX_CONCURRENCY)),
    ("lambda", "MinimumNumberOfPollers", (1, aws_limits.MAPPING_MAX_MINIMUM_POLLERS)),
    ("lambda", "MaximumNumberOfPollers", (1, aws_limits.MAPPING_MAX_POLLERS)),
    ("lambda", "PerExecutionEnvironmentMaxConcurrency", (1, aws_limits.MANAGED_INSTANCES_MAX_PROCESSES)),
    ("lambda", "OperationPayload", (0, aws_limits.LAMBDA_EVENT_BYTES)),
    ("stepfunctions", "Name", (1, aws_limits.STEP_FUNCTIONS_NAME_CHARACTERS)),
    ("stepfunctions", "SensitiveData", (None, aws_limits.STEP_FUNCTIONS_PAYLOAD_BYTES)),
    ("dynamodb", "BatchWriteItemRequestMap", (1, aws_limits.DYNAMODB_BATCH_ITEMS)),
    ("dynamodb", "KeyList", (1, aws_limits.DYNAMODB_READ_KEYS)),
    ("dynamodb", "ScanTotalSegments", (1, aws_limits.DYNAMODB_SCAN_SEGMENTS)),
]


@pytest.mark.parametrize(("service", "shape", "limits"), RANGES, ids=[shape for _, shape, _ in RANGES])
def test_a_range_is_that_of_the_api_model(service: str, shape: str, limits: tuple[int | None, int]):
    """Minimum and maximum."""
    model = shapes(service)[shape]
    assert (model.get("min"), model.get("max")) == limits


def test_the_timeouts_are_those_of_the_documentation_of_create_function():
    """Botocore before 1.44 states 900 seconds for ordinary functions, which AWS raised in November 2026."""
    documentation = text("lambda", "CreateFunctionRequest", "Timeout")
    default, longest = r"default is ([\d,]+) seconds", r"maximum allowed value is ([\d,]+) seconds"
    assert number(default, documentation) == aws_limits.LAMBDA_DEFAULT_TIMEOUT_SECONDS
    assert number(longest, documentation) in {900, aws_limits.LAMBDA_MAX_TIMEOUT_SECONDS}
    managed = number(r"Managed Instances.* maximum allowed value of ([\d,]+) seconds", documentation)
    assert managed == aws_limits.MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS


def test_the_python_runtimes_are_those_of_the_api_model():
    """From the first version that fanfold supports."""
    runtimes = [name for name in shapes("lambda")["Runtime"]["enum"] if name.startswith("python3.")]
    supported = [name for name in runtimes if int(name.partition(".")[2]) >= 11]
    assert tuple(supported) == aws_limits.LAMBDA_PYTHON_RUNTIMES


def test_the_pollers_are_those_of_the_documentation():
    """The range of the model covers Kafka too."""
    fewest = text("lambda", "ProvisionedPollerConfig", "MinimumPollers")
    most = text("lambda", "ProvisionedPollerConfig", "MaximumPollers")
    assert (
        number(r"SQS events source mappings, default is (\d+), and minimum", fewest) == aws_limits.MAPPING_MIN_POLLERS
    )
    assert number(r"SQS .*? between (\d+) and 10,000, with", most) == aws_limits.MAPPING_MIN_POLLERS
    assert number(r"between 2 and ([\d,]+), with", most) == aws_limits.MAPPING_MAX_POLLERS
    assert number(r"10,000, with a default of (\d+)", most) == aws_limits.MAPPING_MAX_MINIMUM_POLLERS


def test_the_batch_size_and_the_window_are_those_of_the_documentation():
    """The default, and the largest batches of FIFO queues and without a window."""
    batch = text("lambda", "CreateEventSourceMappingRequest", "BatchSize")
    assert number(r"Simple Queue Service . Default (\d+)", batch) == aws_limits.MAPPING_DEFAULT_BATCH_SIZE
    assert number(r"standard queues the max is ([\d,]+)", batch) == aws_limits.MAPPING_MAX_BATCH_SIZE
    assert number(r"FIFO queues the max is ([\d,]+)", batch) == aws_limits.MAPPING_MAX_FIFO_BATCH_SIZE


def test_the_attributes_of_queues_are_those_of_the_documentation():
    """Delay, message size, retention, and visibility timeout."""
    attributes = text("sqs", "CreateQueueRequest", "Attributes")
    assert number(r"DelaySeconds . .*? 0 to ([\d,]+) seconds", attributes) == aws_limits.SQS_MAX_DELAY_SECONDS
    assert number(r"MaximumMessageSize . .*? to ([\d,]+) bytes", attributes) == aws_limits.SQS_MESSAGE_BYTES
    assert number(r"to ([\d,]+) seconds \(14 days\)", attributes) == aws_limits.SQS_MAX_RETENTION_SECONDS
    assert number(r"\(14 days\)\. Default: ([\d,]+)", attributes) == aws_limits.SQS_DEFAULT_RETENTION_SECONDS
    wait = r"ReceiveMessageWaitTimeSeconds . .*? 0 to (\d+)"
    assert number(wait, attributes) == aws_limits.SQS_MAX_WAIT_SECONDS
    assert number(r"VisibilityTimeout . .*? 0 to ([\d,]+)", attributes) == aws_limits.SQS_MAX_VISIBILITY_SECONDS
    assert number(r"VisibilityTimeout . .*? Default: (\d+)", attributes) == aws_limits.SQS_DEFAULT_VISIBILITY_SECONDS


def test_six_times_the_longest_timeout_fits_the_longest_visibility_timeout():
    """Also with the longest window, on Managed Instances; so the recommended visibility timeout is always possible."""
    longest = aws_limits.MAPPING_RECOMMENDED_TIMEOUTS * aws_limits.MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS
    assert longest + aws_limits.MAPPING_MAX_WINDOW_SECONDS <= aws_limits.SQS_MAX_VISIBILITY_SECONDS


@pytest.mark.parametrize(("memory_mb", "cpus"), [(1_769, 1.0), (128, 0.0724), (10_240, 5.7886), (32_768, 6.0)])
def test_the_cpus_of_a_function_grow_with_its_memory(memory_mb: float, cpus: float):
    """One at 1,769 MB, at most six."""
    assert cpus_of(memory_mb) == pytest.approx(cpus, rel=1e-3)

"""A consumer with Lambda's runtime client, in a separate process, like in an execution environment."""

import json
import re
from pathlib import Path

import pytest

from runtime_api import function

pytest.importorskip("awslambdaric", reason="Lambda's runtime client is not installed")

ASYNC = """
    import asyncio, fanfold

    @fanfold.consumer
    async def handler(number: int) -> None:
        await asyncio.sleep(0)
        if number < 0:
            raise ValueError(number)
"""
DEF = """
    import fanfold

    @fanfold.consumer(concurrency=3)
    def handler(number) -> None:
        if number < 0:
            raise ValueError(number)
"""
LISTS = """
    import fanfold

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list) -> list:
        assert len(numbers) <= 2
        return [ValueError(number) if number < 0 else None for number in numbers]
"""
DEF_LISTS = """
    import fanfold

    @fanfold.consumer(chunk_size=2)
    def handler(numbers: list) -> list:
        return [ValueError(number) if number < 0 else None for number in numbers]
"""
WITH_STATE = """
    from contextlib import asynccontextmanager
    import fanfold

    @asynccontextmanager
    async def lifespan():
        yield {"least": 0}

    @fanfold.consumer(lifespan=lifespan)
    async def handler(number, ctx: fanfold.Context[dict]) -> None:
        assert ctx.record.body == str(number)
        assert ctx.lambda_context.function_name == "orders"
        if number < ctx.state["least"]:
            raise ValueError(number)
"""
VALIDATED = """
    from typing import Annotated
    import fanfold, pydantic

    class Number(pydantic.RootModel[Annotated[int, pydantic.Field(ge=0)]]): ...

    @fanfold.consumer
    async def handler(number: Number) -> None:
        assert isinstance(number.root, int)
"""
STACKED = """
    import fanfold
    from aws_lambda_powertools import Logger

    logger = Logger(service="orders")

    @logger.inject_lambda_context
    @fanfold.consumer
    async def handler(number) -> None:
        logger.info("seen")
        if number < 0:
            raise ValueError(number)
"""
HANGS = """
    import asyncio, fanfold

    @fanfold.consumer
    async def handler(number) -> None:
        if number < 0:
            await asyncio.Event().wait()
"""
BLOCKS_A_THREAD = """
    import threading, fanfold

    @fanfold.consumer
    def handler(number) -> None:
        if number < 0:
            threading.Event().wait()
"""
BLOCKS_THE_LOOP = """
    import threading, fanfold

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        if number < 0:
            threading.Event().wait()  # blocks the loop
"""
SWALLOWS_ITS_CANCELLATION = """
    import asyncio, fanfold

    @fanfold.consumer(concurrency=101)
    async def handler(number) -> None:
        while number < 0:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
"""


def patient(source: str) -> str:
    """Return the source of a consumer that responds 750 ms before its timeout: even a busy machine is in time."""
    return re.sub(
        r"@fanfold\.consumer(?:\((.*)\))?$", r"@fanfold.consumer(deadline_margin=3, \1)", source, flags=re.MULTILINE
    )


@pytest.mark.parametrize("source", [ASYNC, DEF, LISTS, DEF_LISTS, WITH_STATE, VALIDATED, STACKED])
def test_every_kind_of_handler_reports_exactly_what_failed(source: str, tmp_path: Path):
    """On a cold start and in the warm invocation after it."""
    if "aws_lambda_powertools" in source:
        pytest.importorskip("aws_lambda_powertools", reason="Powertools is not installed")
    with function(tmp_path, source) as environment:
        assert environment.invoke(1, -1, 2, -2, 3).failed_ids == ["message-1", "message-3"]
        assert environment.invoke(4, 5).failed_ids == []


def test_warm_invocations_share_one_process_one_loop_and_one_lifespan(tmp_path: Path):
    """Clients and locks that are created in the first invocation can be used in all later ones."""
    source = """
        import asyncio, os
        from contextlib import asynccontextmanager
        import fanfold

        @asynccontextmanager
        async def lifespan():
            print("entered")
            yield asyncio.get_running_loop()

        @fanfold.consumer(lifespan=lifespan)
        async def handler(number, ctx: fanfold.Context) -> None:
            assert ctx.state is asyncio.get_running_loop()
            print("handled", number, "by", os.getpid())
    """
    with function(tmp_path, source) as environment:
        for number in range(3):
            assert environment.invoke(number).failed_ids == []
        handled = [line for line in environment.log.splitlines() if line.startswith("handled")]
        assert handled == [f"handled {number} by {environment.process.pid}" for number in range(3)]
        assert environment.log.count("entered") == 1


def test_the_context_carries_the_deadline_and_the_request_of_the_invocation(tmp_path: Path):
    """The deadline is the time in the invocation's header."""
    source = """
        import fanfold

        @fanfold.consumer
        async def handler(number, ctx: fanfold.Context) -> None:
            assert 40 < ctx.deadline.remaining() <= 50
            print("request", ctx.lambda_context.aws_request_id)
    """
    with function(tmp_path, source) as environment:
        response = environment.invoke(1, seconds=50)
        assert response.failed_ids == []
        assert f"request {response.request_id}" in environment.log


# Slow: waits until shortly before the timeout.
@pytest.mark.slow
@pytest.mark.parametrize("source", [HANGS, BLOCKS_A_THREAD, BLOCKS_THE_LOOP, SWALLOWS_ITS_CANCELLATION])
def test_a_handler_that_does_not_end_is_reported_before_the_deadline(source: str, tmp_path: Path):
    """Records that succeeded alongside it are not redelivered, and the next batch is correct."""
    with function(tmp_path, patient(source)) as environment:
        assert environment.invoke(0).failed_ids == []
        response = environment.invoke(0, -1, seconds=5.0)
        assert response.failed_ids == ["message-1"]
        assert response.seconds_left > 0
        assert environment.invoke(1, 2).failed_ids == []


def test_the_line_that_blocks_the_event_loop_is_logged(tmp_path: Path):
    """Lambda's own timeout error would not show it."""
    with function(tmp_path, BLOCKS_THE_LOOP) as environment:
        assert environment.invoke(-1, 1, seconds=3.0).failed_ids == ["message-0", "message-1"]
        assert "the event loop is blocked by handler (app.py, line 7): threading.Event().wait()" in environment.log


def test_a_malformed_event_is_a_function_error(tmp_path: Path):
    """Lambda then redelivers the whole batch; the process continues."""
    with function(tmp_path, ASYNC) as environment:
        response = environment.invoke_with({"Records": [{"eventSource": "aws:sqs", "body": "1"}]})
        assert (response.kind, response.value["errorType"]) == ("error", "EventError")
        assert "record 0 of the event has no messageId" in response.value["errorMessage"]
        assert environment.invoke(1).failed_ids == []


def test_a_total_failure_is_a_function_error_if_requested(tmp_path: Path):
    """Lambda polls more slowly after an error. A batch with at least one success is not an error."""
    source = ASYNC.replace("@fanfold.consumer", "@fanfold.consumer(raise_on_total_failure=True)")
    with function(tmp_path, source) as environment:
        response = environment.invoke(-1, -2)
        assert (response.kind, response.value["errorType"]) == ("error", "TotalFailureError")
        assert response.value["errorMessage"] == "none of the 2 records of the batch succeeded"
        assert environment.invoke(-1, 2).failed_ids == ["message-0"]


def test_a_lifespan_that_fails_is_a_function_error_and_is_retried(tmp_path: Path):
    """The error is the one that the lifespan raised, and the execution environment is not lost."""
    source = """
        from contextlib import asynccontextmanager
        import fanfold

        attempts = []

        @asynccontextmanager
        async def lifespan():
            attempts.append(1)
            if len(attempts) == 1:
                raise OSError("no connection")
            yield

        @fanfold.consumer(lifespan=lifespan)
        async def handler(number) -> None: ...
    """
    with function(tmp_path, source) as environment:
        response = environment.invoke(1)
        assert (response.kind, response.value["errorType"]) == ("error", "OSError")
        assert response.value["errorMessage"] == "no connection"
        assert environment.invoke(1).failed_ids == []


def test_a_lifespan_that_hangs_is_a_function_error_before_the_deadline(tmp_path: Path):
    """No record has started, so the whole batch is redelivered."""
    source = """
        import asyncio
        from contextlib import asynccontextmanager
        import fanfold

        @asynccontextmanager
        async def lifespan():
            await asyncio.Event().wait()
            yield

        @fanfold.consumer(lifespan=lifespan)
        async def handler(number) -> None: ...
    """
    with function(tmp_path, patient(source)) as environment:
        response = environment.invoke(1, seconds=5.0)
        assert (response.kind, response.value["errorType"]) == ("error", "TimeoutError")
        assert response.seconds_left > 0


def test_an_invalid_setting_is_an_init_error(tmp_path: Path):
    """It appears in the first cold start, before any message is received."""
    source = """
        import fanfold

        @fanfold.consumer(concurrency=0)
        async def handler(number) -> None: ...
    """
    with function(tmp_path, source) as environment:
        response = environment.next_response()
        assert (response.kind, response.value["errorType"]) == ("init error", "ConfigurationError")
        message = 'concurrency must be an integer of at least 1, "auto", or a fanfold.Auto, not 0'
        assert response.value["errorMessage"] == message


@pytest.mark.parametrize(
    "error",
    [
        "SystemExit(3)",
        "asyncio.CancelledError()",
        "GeneratorExit()",
        "ExceptionGroup('g', [OSError()])",
        "fanfold.Retry(after=float('nan'))",
        "fanfold.Retry(after=float('inf'))",
    ],
)
def test_an_exception_of_a_handler_ends_neither_the_process_nor_the_batch(error: str, tmp_path: Path):
    """Only its record is redelivered, and later records run."""
    source = f"""
        import asyncio, fanfold

        @fanfold.consumer(concurrency=1)
        async def handler(number) -> None:
            if number < 0:
                raise {error}
    """
    with function(tmp_path, source) as environment:
        assert environment.invoke(1, -1, 2).failed_ids == ["message-1"]
        assert environment.invoke(3).failed_ids == []


@pytest.mark.parametrize(
    "statement",
    [
        "await asyncio.gather(leave())",
        "asyncio.get_running_loop().stop()",
        "[task.cancel() for task in asyncio.all_tasks() if task is not asyncio.current_task()]",
    ],
)
def test_a_handler_that_ends_the_event_loop_does_not_end_the_process(statement: str, tmp_path: Path):
    """The response contains the known outcomes, or is an error; the next batch is correct."""
    source = f"""
        import asyncio, sys, fanfold

        async def leave():
            sys.exit(3)

        @fanfold.consumer(concurrency=1)
        async def handler(number) -> None:
            if number < 0:
                {statement}
                await asyncio.Event().wait()
    """
    with function(tmp_path, source) as environment:
        response = environment.invoke(1, -1, seconds=3.0)
        assert response.kind in {"response", "error"}, environment.log
        assert response.kind == "error" or response.failed_ids == ["message-1"]
        assert environment.invoke(3).failed_ids == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [BLOCKS_A_THREAD.replace("consumer", "consumer(concurrency=101)", 1), SWALLOWS_ITS_CANCELLATION],
    ids=["threads", "tasks that swallow their cancellation"],
)
def test_an_execution_environment_with_too_many_abandoned_handlers_ends(source: str, tmp_path: Path):
    """If more than a hundred still run, the process ends, and Lambda delivers the batch to a new one."""
    with function(tmp_path, patient(source)) as environment:
        response = environment.invoke(*[-1] * 101, seconds=5.0)
        assert len(response.failed_ids) == 101
        assert response.seconds_left > 0
        response = environment.invoke(1)
        assert (response.kind, response.value) == ("exit", 1)
        assert "101 abandoned handlers" in environment.log


@pytest.mark.slow
def test_a_hundred_abandoned_threads_are_tolerated(tmp_path: Path):
    """The limit is a hundred, so that an occasional abandoned thread does not cause a cold start."""
    source = BLOCKS_A_THREAD.replace("consumer", "consumer(concurrency=100)", 1)
    with function(tmp_path, patient(source)) as environment:
        assert len(environment.invoke(*[-1] * 100, seconds=5.0).failed_ids) == 100
        assert environment.invoke(1).failed_ids == []


# Slow: three invocations wait until shortly before their timeout.
@pytest.mark.slow
def test_an_execution_environment_with_three_blocked_event_loops_ends(tmp_path: Path):
    """Two blocked loops are abandoned and replaced; at the third, the process ends."""
    with function(tmp_path, patient(BLOCKS_THE_LOOP)) as environment:
        for _ in range(3):
            response = environment.invoke(1, -1, seconds=5.0)
            assert response.failed_ids == ["message-1"]
            assert response.seconds_left > 0
        response = environment.invoke(1)
        assert (response.kind, response.value) == ("exit", 1)
        assert "3 blocked event loops" in environment.log


def test_logs_in_lambdas_json_format_are_one_document_per_line(tmp_path: Path):
    """A traceback does not span several lines, and no message body is logged."""
    variables = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    source = ASYNC.replace("raise ValueError(number)", "raise ValueError('broken')")
    with function(tmp_path, source, **variables) as environment:
        assert environment.invoke(-12345, 1).failed_ids == ["message-0"]
        entries = [json.loads(line) for line in environment.log.splitlines()]
    assert [entry["level"] for entry in entries] == ["ERROR", "INFO"]
    assert "1 x ValueError" in entries[0]["message"]
    assert entries[1]["message"] == "batch of 2: 1 acknowledged, 1 to be redelivered"
    assert "12345" not in json.dumps(entries)

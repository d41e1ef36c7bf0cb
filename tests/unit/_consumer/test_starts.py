"""When records start, and what is logged about those that do not: the rate, memory, the last receive."""

import asyncio

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Done, NotStarted
from fanfold.testing import deliver, make_context, make_event, make_record
from simple_handlers import nothing


async def test_starts_are_spread_over_time():
    """For any concurrency: eight starts have seven intervals between them, so the batch takes at least that long."""
    loop = asyncio.get_running_loop()
    handler = fanfold.consumer(concurrency=10, starts_per_second=100)(lambda number: None)
    started_at = loop.time()
    assert ids(await handler.process(make_event(*range(8)))) == []
    assert loop.time() - started_at >= 0.07


def test_records_that_the_rate_delays_past_the_deadline_are_not_started():
    """The first record starts immediately; the next one would start after the timeout."""
    handler = fanfold.consumer(starts_per_second=0.01)(lambda body: None)
    assert kinds(deliver(handler, 1, 2, 3, seconds=2)) == [Done, NotStarted, NotStarted]


@pytest.mark.linux
async def test_with_full_memory_records_run_one_by_one():
    """No record starts while another runs, but one always runs, so the batch ends."""
    running, peak = 0, 0

    @fanfold.consumer(concurrency=5)
    async def handler(number) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1

    assert kinds(await handler.process(make_event(*range(6)), make_context(memory_limit_in_mb=1))) == [Done] * 6
    assert peak == 1


async def test_without_a_guard_full_memory_delays_no_record():
    """``memory_share=None`` disables the guard."""
    barrier = asyncio.Barrier(5)

    @fanfold.consumer(concurrency=5, memory_share=None)
    async def handler(number) -> None:
        await barrier.wait()

    assert kinds(await handler.process(make_event(*range(5)), make_context(memory_limit_in_mb=1))) == [Done] * 5


def test_a_message_not_started_in_its_last_receive_is_logged(monkeypatch, caplog):
    """The warning contains its ID, because SQS moves it to the dead-letter queue; others are not logged."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "5")
    records = [make_record(number, message_id=f"m-{number}", receive_count=6 - number) for number in range(4)]
    handler = fanfold.consumer(starts_per_second=0.1)(nothing)
    handler.invoke({"Records": records}, make_context(0.3))
    handler.close()
    assert "1 messages were not started in receive 5, their last" in caplog.text
    assert caplog.text.endswith("first: m-1\n")


def test_a_message_that_ran_in_its_last_receive_is_not_logged(monkeypatch, caplog):
    """Its failure is in the log already."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "5")

    @fanfold.consumer
    async def handler(body):
        raise ValueError(body)

    handler.invoke({"Records": [make_record(1, receive_count=5)]}, make_context())
    handler.close()
    assert "were not started" not in caplog.text


def test_without_a_known_receive_limit_no_message_is_logged(caplog):
    """Without ``FANFOLD_MAX_RECEIVE_COUNT``, the function does not guess the limit."""
    handler = fanfold.consumer(starts_per_second=0.1)(nothing)
    handler.invoke({"Records": [make_record(number, receive_count=99) for number in range(3)]}, make_context(0.3))
    handler.close()
    assert "were not started" not in caplog.text


@pytest.mark.linux
async def test_starts_that_waited_for_memory_are_logged(caplog):
    """A warning contains their number."""

    @fanfold.consumer(concurrency=5)
    async def handler(body):
        await asyncio.sleep(0)

    await handler.process(make_event(1, 2, 3), make_context(memory_limit_in_mb=1))
    assert "memory was full: starts of records waited" in caplog.text

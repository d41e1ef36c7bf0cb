"""When a record starts, and what is said of one that does not: the rate, memory, the last receive."""

import asyncio

import fanfold
from batches import ids, kinds
from fanfold import Done, NotStarted
from fanfold.testing import deliver, make_context, make_event, make_record
from simple_handlers import nothing


async def test_starts_are_spread_over_time():
    """However many places there are: with seven intervals between eight starts the batch takes no less."""
    loop = asyncio.get_running_loop()
    handler = fanfold.consumer(concurrency=10, starts_per_second=100)(lambda number: None)
    began = loop.time()
    assert ids(await handler.process(make_event(*range(8)))) == []
    assert loop.time() - began >= 0.07


def test_what_the_rate_leaves_no_time_for_is_not_started():
    """The first record starts at once, the next one would start after the end."""
    handler = fanfold.consumer(starts_per_second=0.01)(lambda body: None)
    assert kinds(deliver(handler, 1, 2, 3, seconds=2)) == [Done, NotStarted, NotStarted]


async def test_full_memory_lets_records_run_one_by_one():
    """None starts while another runs, and one always runs: the batch ends."""
    running, most = 0, 0

    @fanfold.consumer(concurrency=5)
    async def handler(number) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1

    assert kinds(await handler.process(make_event(*range(6)), make_context(memory_limit_in_mb=1))) == [Done] * 6
    assert most == 1


async def test_without_a_guard_full_memory_holds_nothing_back():
    """None means none."""
    barrier = asyncio.Barrier(5)

    @fanfold.consumer(concurrency=5, memory_share=None)
    async def handler(number) -> None:
        await barrier.wait()

    assert kinds(await handler.process(make_event(*range(5)), make_context(memory_limit_in_mb=1))) == [Done] * 5


def test_what_is_about_to_be_dead_lettered_untried_is_warned_about(monkeypatch, caplog):
    """A record that is not started at its last receive is named before the queue dead-letters it; others are not."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "5")
    records = [make_record(number, message_id=f"m-{number}", receive_count=6 - number) for number in range(4)]
    handler = fanfold.consumer(starts_per_second=0.1)(nothing)
    handler.invoke({"Records": records}, make_context(0.3))
    handler.close()
    assert "1 messages were not started in receive 5, their last" in caplog.text
    assert caplog.text.endswith("first: m-1\n")


def test_what_ran_at_its_last_receive_is_no_reason_for_a_warning(monkeypatch, caplog):
    """It had its chance: its failure is in the log already."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "5")

    @fanfold.consumer
    async def handler(body):
        raise ValueError(body)

    handler.invoke({"Records": [make_record(1, receive_count=5)]}, make_context())
    handler.close()
    assert "dead-letters" not in caplog.text


def test_without_a_known_receive_limit_nothing_is_said_of_it(caplog):
    """A function that is not told the queue's receive limit does not guess it."""
    handler = fanfold.consumer(starts_per_second=0.1)(nothing)
    handler.invoke({"Records": [make_record(number, receive_count=99) for number in range(3)]}, make_context(0.3))
    handler.close()
    assert "dead-letters" not in caplog.text


async def test_starts_that_waited_for_memory_are_reported(caplog):
    """A batch that was held back by the memory guard says so in the log."""

    @fanfold.consumer(concurrency=5)
    async def handler(body):
        await asyncio.sleep(0)

    await handler.process(make_event(1, 2, 3), make_context(memory_limit_in_mb=1))
    assert "memory was full: starts of records waited" in caplog.text

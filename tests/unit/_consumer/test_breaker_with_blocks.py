"""``with breaker:`` and ``async with breaker:`` in handlers."""

import asyncio
import threading

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Breaker, Done, Failed, NotStarted, Retrying
from fanfold._breakers.blocks import BreakerOpenError
from fanfold._breakers.transitions import closed, opened
from fanfold._ports.breakers import CLOSED, OPEN
from fanfold.testing import deliver
from outage_consumers import batch, invoke
from recorded_outage import DownError, Outage
from settlers import STEADY


@pytest.fixture
def outage() -> Outage:
    return Outage()


def circuit_of(outage: Outage, name: str = "payments"):
    return asyncio.run(outage.circuit(name))


class Calls:
    """Handlers that call a service in a block, in each of the three ways."""

    def __init__(self, outage: Outage, of_blocks: Breaker, **settings) -> None:
        self.error: BaseException | None = DownError()
        self.made: list[int] = []
        self.breaker = of_blocks
        self.settings = {"settler": outage.settler, "concurrency": 1, **settings}

    def call(self, body: int) -> None:
        self.made.append(body)
        if self.error is not None:
            raise self.error

    def handler(self, kind: str):
        if kind == "def":

            @fanfold.consumer(**self.settings)
            def handler(body: int) -> None:
                with self.breaker:
                    self.call(body)

        elif kind == "async":

            @fanfold.consumer(**self.settings)
            async def handler(body: int) -> None:
                async with self.breaker:
                    self.call(body)

        else:

            @fanfold.consumer(**self.settings)
            async def handler(body: int) -> None:
                with self.breaker:
                    self.call(body)

        return handler


KINDS = pytest.mark.parametrize("kind", ["def", "async", "with in async"])


@KINDS
def test_after_five_failures_no_call_is_made_and_the_messages_are_held(outage, kind):
    """The breaker belongs to no consumer; the handlers start, and their blocks refuse the call."""
    calls = Calls(outage, outage.breaker())
    handler = calls.handler(kind)
    result = invoke(handler, batch(20))
    handler.close()
    assert len(calls.made) == 5
    assert kinds(result) == [Failed] * 5 + [Retrying] * 15
    assert result.outcomes[-1].reason == "breaker 'payments' is open"
    assert len(ids(result)) == 20
    assert len(outage.settler.changed) == 20
    (page,) = asyncio.run(outage.pages())
    assert len(page) == 20
    assert circuit_of(outage).state == OPEN


@pytest.mark.parametrize("kind", ["def", "async"])
def test_a_call_is_the_probe(outage, kind):
    """It closes the breaker, the messages are released, and the other calls are made.

    ``with`` in an ``async def`` cannot wait until the probe is claimed: that would block the event loop.
    """
    calls = Calls(outage, outage.breaker())
    handler = calls.handler(kind)
    invoke(handler, batch(5, first=100))
    outage.clock.advance(30)
    calls.error = None
    assert isinstance(invoke(handler, batch(1)).outcomes[0], Done)
    assert circuit_of(outage).state == CLOSED
    assert kinds(invoke(handler, batch(5))) == [Done] * 5
    handler.close()
    assert [change for change in outage.settler.changed.values() if change == 0] == [0] * 5


@KINDS
def test_a_declared_breaker_counts_the_error_of_a_block_once(outage, kind):
    """The record's failure is the same one."""
    breaker = outage.breaker()
    calls = Calls(outage, breaker, breaker=breaker)
    handler = calls.handler(kind)
    result = invoke(handler, batch(20))
    handler.close()
    assert len(calls.made) == 5
    assert sorted(kind.__name__ for kind in kinds(result)) == ["Failed"] * 5 + ["NotStarted"] * 15
    assert circuit_of(outage).failures <= 5


def test_an_error_that_a_handler_catches_counts_nevertheless(outage):
    """The call failed; the record succeeds."""
    breaker, made = outage.breaker(), list[int]()

    @fanfold.consumer(settler=outage.settler, concurrency=1)
    async def handler(body: int) -> str:
        try:
            async with breaker:
                made.append(body)
                raise DownError
        except (DownError, BreakerOpenError) as error:
            return type(error).__name__

    result = invoke(handler, batch(8))
    handler.close()
    assert [outcome.value for outcome in result.outcomes] == ["DownError"] * 5 + ["BreakerOpenError"] * 3
    assert outage.settler.visibility_changes == []
    assert circuit_of(outage).state == OPEN


def test_nested_blocks_are_of_two_services(outage):
    """An error counts for each block whose errors it matches; the inner one first."""
    outer, inner = outage.breaker(on=(DownError, KeyError)), outage.breaker(name="stock", on=KeyError)

    @fanfold.consumer(settler=outage.settler, concurrency=1)
    async def handler(body: int) -> None:
        async with outer:
            with inner:
                raise KeyError if body < 5 else DownError

    invoke(handler, batch(5))
    assert circuit_of(outage, "stock").state == OPEN
    assert circuit_of(outage).state == OPEN
    handler.close()


def test_blocks_of_two_services_open_only_their_own(outage):
    """The other one is called."""
    payments, stock = outage.breaker(), outage.breaker(name="stock")
    made: list[str] = []

    @fanfold.consumer(settler=outage.settler, concurrency=1)
    def handler(body: int) -> None:
        with payments:
            made.append("payments")
        with stock:
            made.append("stock")
            raise DownError

    invoke(handler, batch(10))
    handler.close()
    assert (made.count("payments"), made.count("stock")) == (10, 5)
    assert circuit_of(outage).version == 0
    assert circuit_of(outage, "stock").state == OPEN


def test_tasks_of_one_handler_have_separate_blocks(outage):
    """A context variable of the task keeps them apart."""
    breaker = outage.breaker()

    @fanfold.consumer(settler=outage.settler)
    async def handler(body: int) -> None:
        async def call() -> None:
            async with breaker:
                await asyncio.sleep(0)

        async with breaker:
            await asyncio.gather(*(call() for _ in range(5)))

    assert kinds(invoke(handler, batch(5))) == [Done] * 5
    handler.close()


def test_a_message_is_not_held_for_long_if_the_breaker_has_closed_by_the_end(outage):
    """Nobody would release it: it has the delay of a failure."""
    breaker = outage.breaker()
    waits, release = asyncio.Event(), asyncio.Event()

    @fanfold.consumer(settler=outage.settler, backoff=STEADY, concurrency=5)
    async def handler(body: int) -> None:
        if body == 1:
            waits.set()
            await release.wait()
        async with breaker:
            pass

    async def run():
        await outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=30))
        async with handler.session() as process:
            running = asyncio.ensure_future(process(batch(2)))
            await waits.wait()
            await asyncio.sleep(0.02)
            await outage.change(lambda circuit: closed(circuit, outage.clock()))
            for keeper in process._environment.breakers.keepers:
                keeper.state.batch_starts()
                await keeper.finish(None)
            release.set()
            return await running

    result = asyncio.run(run())
    assert kinds(result) == [Retrying, Done]
    assert outage.settler.changed == {"m0": 10}


def test_two_breakers_with_one_name_are_one_line_and_the_second_has_no_effect(outage, caplog):
    """Its calls are made as without it."""
    first, second = outage.breaker(), outage.breaker(on=KeyError)
    made: list[int] = []

    @fanfold.consumer(settler=outage.settler, concurrency=1)
    def handler(body: int) -> None:
        with first:
            pass
        with second:
            made.append(body)
            raise KeyError

    assert kinds(invoke(handler, batch(10))) == [Failed] * 10
    handler.close()
    assert len(made) == 10
    (line,) = (line for line in caplog.messages if "two breakers" in line)
    assert line.startswith("two breakers with different errors have the name 'payments': the blocks of the second one")
    assert line.endswith("use one name for each service")


def test_a_second_breaker_with_the_same_name_and_errors_is_the_same(outage):
    """Two modules may create it."""
    breakers = [outage.breaker(), outage.breaker()]
    made: list[int] = []

    @fanfold.consumer(settler=outage.settler, concurrency=1)
    def handler(body: int) -> None:
        with breakers[body % 2]:
            made.append(body)
            raise DownError

    invoke(handler, batch(10))
    handler.close()
    assert len(made) == 5


@KINDS
def test_deliver_keeps_the_state_in_memory(kind):
    """Nothing is written where production reads."""
    outage = Outage()
    calls = Calls(outage, Breaker("payments", on=DownError, table="production"))
    handler = calls.handler(kind)
    assert kinds(deliver(handler, *range(8))) == [Failed] * 5 + [Retrying] * 3
    assert kinds(deliver(handler, *range(8))) == [Failed] * 5 + [Retrying] * 3
    handler.close()


def test_a_thread_of_the_handler_has_no_block(outage):
    """It belongs to no execution environment that fanfold knows."""
    breaker, ended = outage.breaker(), list[str]()

    @fanfold.consumer(settler=outage.settler)
    def handler(body: int) -> None:
        def call() -> None:
            with breaker:
                ended.append("called")

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    assert kinds(invoke(handler, batch(1))) == [Done]
    handler.close()
    assert ended == ["called"]


def test_a_cold_breaker_of_blocks_reads_its_circuit_at_the_first_call(outage):
    """The service is down: not one call is made."""
    asyncio.run(outage.change(lambda circuit: opened(circuit, outage.clock(), probe_every=30)))
    for kind in ("def", "async"):
        calls = Calls(outage, outage.breaker())
        handler = calls.handler(kind)
        result = invoke(handler, batch(3))
        handler.close()
        assert kinds(result) == [Retrying] * 3
        assert calls.made == []


def test_a_block_in_a_handler_that_starts_while_its_declared_breaker_is_open_does_not_refuse(outage):
    """Admission has let it start as the probe."""
    breaker = outage.breaker()
    calls = Calls(outage, breaker, breaker=breaker)
    handler = calls.handler("async")
    invoke(handler, batch(5, first=100))
    assert kinds(invoke(handler, batch(1))) == [NotStarted]
    outage.clock.advance(30)
    calls.error = None
    assert kinds(invoke(handler, batch(2))) == [Done, Done]
    handler.close()
    assert calls.made[-2:] == [0, 1]

"""Settings that decide which record starts when: each pair of them together, under ``deliver`` and the simulator."""

import asyncio
import itertools
import threading
from collections import Counter
from typing import Any

import pytest

import fanfold
from fanfold import Auto, Breaker, Done
from fanfold._replay.simulator import Simulator
from fanfold.testing import deliver, make_record

SETTINGS: dict[str, dict[str, Any]] = {
    "auto": {"concurrency": Auto(minimum=2, maximum=6)},
    "fair": {"fair": True},
    "tenant_concurrency": {"tenant_concurrency": 2},
    "starts_per_second": {"starts_per_second": 5_000},
    "chunk_size": {"chunk_size": 3},
    "timeout": {"timeout": 30},
    "breaker": {"breaker": Breaker("service", on=ConnectionError)},
}
PAIRS = [(*pair,) for pair in itertools.combinations(SETTINGS, 2)]
GROUPS = "aaaaaaaaaaaaabbc-"


class Handler:
    """Counts the records in flight, in total and of each tenant."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.lists: list[list[str]] = []
        self.lock = threading.Lock()

    def enter(self, bodies: list[str]) -> None:
        with self.lock:
            self.lists.append(bodies)
            self.order += bodies
            for key in (bodies[0][0], "all"):
                self.running[key] += 1
                self.most[key] = max(self.most[key], self.running[key])

    def leave(self, bodies: list[str]) -> None:
        with self.lock:
            for key in (bodies[0][0], "all"):
                self.running[key] -= 1


def consumer_of(handler: Handler, settings: dict[str, Any], *, on_threads: bool) -> Any:
    takes_list = "chunk_size" in settings

    async def run(body: Any) -> None:
        bodies = body if takes_list else [body]
        handler.enter(bodies)
        await asyncio.sleep(0.001)
        handler.leave(bodies)

    def run_on_thread(body: Any) -> None:
        bodies = body if takes_list else [body]
        handler.enter(bodies)
        threading.Event().wait(0.001)
        handler.leave(bodies)

    run.__annotations__["body"] = run_on_thread.__annotations__["body"] = list[str] if takes_list else str
    return fanfold.consumer(**{"concurrency": 4, **settings})(run_on_thread if on_threads else run)


def records() -> list[dict[str, Any]]:
    return [
        make_record(
            f"{group}{number}",
            message_id=f"message-{number}",
            attributes={} if group == "-" else {"MessageGroupId": group},
        )
        for number, group in enumerate(GROUPS)
    ]


def check(handler: Handler, settings: dict[str, Any]) -> None:
    """Check what each setting promises."""
    assert sorted(handler.order) == sorted(f"{group}{number}" for number, group in enumerate(GROUPS))
    assert handler.most["all"] <= (6 if "concurrency" in settings else 4)
    is_fair = settings.get("fair") or "tenant_concurrency" in settings
    if "tenant_concurrency" in settings:
        assert max(handler.most[tenant] for tenant in "abc") <= 2
    if "chunk_size" in settings:
        assert max(map(len, handler.lists)) == 3
        assert not is_fair or all(len({body[0] for body in bodies}) == 1 for bodies in handler.lists)
    if is_fair:
        assert {body[0] for body in handler.order[: 4 * settings.get("chunk_size", 1)]} >= {"a", "b"}


@pytest.mark.parametrize("on_threads", [False, True], ids=["async", "def"])
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_settings_work_together(pair: tuple[str, str], on_threads: bool):
    """Every record runs once, and each setting keeps its promise."""
    settings, handler = SETTINGS[pair[0]] | SETTINGS[pair[1]], Handler()
    result = deliver(consumer_of(handler, settings, on_threads=on_threads), records=records())
    assert [type(outcome) for outcome in result.outcomes] == [Done] * len(GROUPS)
    check(handler, settings)


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_settings_work_together_in_the_simulator(pair: tuple[str, str]):
    """The clock of the simulator is the clock of the limits."""
    settings, handler = SETTINGS[pair[0]] | SETTINGS[pair[1]], Handler()
    consumer = consumer_of(handler, settings, on_threads=False)
    simulator = Simulator(consumer, batch_size=20, window_seconds=1, maximum_concurrency=2)
    simulator.send(records=records())
    simulator.run()
    assert len(simulator.queue) == 0
    check(handler, settings)
    consumer.close()


@pytest.mark.parametrize("setting", [*SETTINGS, "backoff"])
def test_auto_with_each_setting_on_a_service_that_refuses(setting: str):
    """A refused message is redelivered, and succeeds later."""
    calls: list[str] = []

    class TooManyRequestsError(Exception):
        status = 429
        headers: dict[str, str] = {"Retry-After": "0.001"}  # noqa: RUF012 - as of a client

    async def handler(body: Any) -> None:
        calls.append(body)
        if len(calls) % 5 == 0:
            raise TooManyRequestsError

    handler.__annotations__["body"] = list[str] if setting == "chunk_size" else str
    settings = {**SETTINGS.get(setting, {"backoff": fanfold.Backoff(base=1)}), **SETTINGS["auto"]}
    consumer = fanfold.consumer(**settings)(handler)
    simulator = Simulator(consumer, batch_size=20, window_seconds=1)
    simulator.send(records=records())
    simulator.run()
    assert len(simulator.queue) == 0
    assert not simulator.dead_letters
    consumer.close()

"""Jitter and ids after a Lambda SnapStart restore: two copies of one snapshot must not draw the same numbers.

A restore is simulated by setting the state of the module ``random`` back, as a snapshot does for every copy of it.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import fanfold
from fanfold import Backoff
from fanfold._base.backoff import jitter_from, system_random
from fanfold._base.retry import ENDLESS, SCHEDULE
from fanfold._ports.run import source_prefix
from fanfold.aws.clients import client_of
from fanfold.inmemory import InMemoryEntries, InMemoryStore
from fanfold.payloads import offload
from fanfold.testing import deliver
from idempotent import by_id
from settlers import RecordingSettler


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    state = random.getstate()
    yield
    random.setstate(state)


def in_two_copies(draw: Callable[[], Any]) -> tuple[Any, Any]:
    """Draw in two execution environments that are restored from one snapshot."""
    snapshot = random.getstate()
    first = draw()
    random.setstate(snapshot)
    return first, draw()


def delays_of_a_batch() -> list[int]:
    """Return the visibility timeouts that a consumer with a backoff sets for failed records."""
    settler = RecordingSettler()

    async def handler(number: int) -> None:
        raise ValueError(number)

    consumer = fanfold.consumer(backoff=Backoff(base=40_000, cap=40_000, jitter=1), settler=settler)(handler)
    deliver(consumer, *range(8))
    return [seconds for call in settler.visibility_changes for _, seconds in call]


def owners_of_claims() -> list[str]:
    """Return the owners that a consumer writes into its idempotency entries."""
    owners: list[str] = []

    class Watching(InMemoryEntries):
        async def claim(self, entry, now):
            owners.append(entry.owner)
            return await super().claim(entry, now)

    async def handler(order: dict) -> None: ...

    deliver(fanfold.consumer(idempotency=by_id(Watching()))(handler), {"id": 1}, {"id": 2})
    return owners


def key_of_a_payload() -> str:
    """Return the body of a message that points to an uploaded payload."""
    store = InMemoryStore("bucket")

    async def send() -> str:
        return (await offload("x", store=store, bucket="bucket", threshold_bytes=0)).body

    return anyio.run(send)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: [Backoff().next_delay(1) for _ in range(8)],
        lambda: [SCHEDULE.delay(failures) for failures in range(1, 8)],
        lambda: [ENDLESS.delay(failures) for failures in range(1, 8)],
        delays_of_a_batch,
        owners_of_claims,
        key_of_a_payload,
        lambda: source_prefix("run-1"),
    ],
    ids=["backoff", "retries", "endless retries", "a batch", "owners of claims", "keys of payloads", "keys of plans"],
)
def test_two_copies_of_a_snapshot_draw_different_numbers(draw: Callable[[], Any]):
    """Otherwise all restored environments retry at the same moments, or overwrite each other's objects."""
    first, second = in_two_copies(draw)
    assert first
    assert first != second


def test_no_jitter_changes_the_state_of_the_module_random():
    """A user who seeds ``random`` gets the same numbers with and without fanfold."""
    state = random.getstate()
    delays_of_a_batch()
    assert random.getstate() == state


def test_a_random_number_is_at_least_0_and_below_1():
    """The largest and the smallest bytes of the operating system stay within the range, and the numbers are spread."""
    numbers = [system_random() for _ in range(1_000)]
    assert all(0 <= number < 1 for number in numbers)
    assert 0.4 < sum(numbers) / len(numbers) < 0.6


@pytest.mark.parametrize(("byte", "number"), [(b"\0", 0.0), (b"\xff", 1 - 2.0**-53)])
def test_the_extremes_of_a_random_number(monkeypatch: pytest.MonkeyPatch, byte: bytes, number: float):
    """1 is never reached."""
    monkeypatch.setattr("os.urandom", lambda size: byte * size)
    assert system_random() == number


def test_a_reproducible_run_chooses_the_source_of_jitter():
    """Within the block, all jitter comes from it; afterwards, from the operating system again."""
    backoff = Backoff(base=100, jitter=1)
    with jitter_from(lambda: 0.25):
        assert backoff.next_delay(1) == 75
        with jitter_from(lambda: 0.5):
            assert backoff.next_delay(1) == 50
        assert backoff.next_delay(1) == 75
    assert len({backoff.next_delay(1) for _ in range(10)}) == 10


@pytest.mark.parametrize(("kind", "differ"), [("snap-start", True), ("on-demand", False)])
async def test_the_sdk_draws_other_jitter_in_each_restored_copy(
    monkeypatch: pytest.MonkeyPatch, kind: str, differ: bool
):
    """The SDK's retries use the module ``random``; elsewhere its state belongs to the user and is not changed."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    async def draw() -> float:
        async with client_of("sqs", "SQS", {}):
            return random.random()

    snapshot = random.getstate()
    first = await draw()
    random.setstate(snapshot)
    assert (await draw() != first) is differ

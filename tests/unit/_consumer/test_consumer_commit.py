"""A commit stage: a message is acknowledged only after it is committed."""

import asyncio
import time

import pytest

import fanfold
from batches import ids
from fanfold._base.deadline import Deadline
from fanfold.errors import CommitError
from fanfold.testing import deliver, make_event
from simple_handlers import raises


def test_an_uncommitted_record_is_not_acknowledged():
    """The commit stage decides about every record whose handler returned."""

    async def commit(done, batch):
        assert [value for _, value in done] == ["a", "b"]
        return {1}

    @fanfold.consumer(commit=commit)
    async def handler(text: str) -> str:
        return text

    result = deliver(handler, "a", "b")
    assert ids(result.response) == ["message-0"]
    assert isinstance(result.outcomes[0].error, CommitError)


@pytest.mark.parametrize("error", [OSError("down"), asyncio.CancelledError()])
def test_after_a_failed_commit_no_record_is_acknowledged(error: BaseException):
    """All messages are redelivered: repeating a record is harmless, losing it is not."""

    async def commit(done, batch):
        raise error

    handler = fanfold.consumer(commit=commit)(lambda body: None)
    assert ids(deliver(handler, 1, 2).response) == ["message-0", "message-1"]


def test_after_a_commit_that_is_not_async_no_record_is_acknowledged(caplog):
    """The batch response is returned, and the log contains the error."""
    handler = fanfold.consumer(commit=lambda done, batch: {0, 1})(lambda body: None)
    assert ids(deliver(handler, 1, 2).response) == ["message-0", "message-1"]
    assert "can't be used in 'await' expression" in caplog.text


def test_a_commit_that_hangs_does_not_delay_the_response():
    """It is cancelled when the response is due, and no record is acknowledged."""
    cancelled = []

    async def commit(done, batch):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    handler = fanfold.consumer(commit=commit)(lambda body: None)
    assert ids(deliver(handler, 1, seconds=0.4).response) == ["message-0"]
    assert cancelled == [1]


def test_without_a_success_commit_is_not_called():
    """A batch of failures does not access the ledger."""

    async def commit(done, batch):
        raise AssertionError

    handler = fanfold.consumer(commit=commit)(raises(ValueError))
    assert ids(deliver(handler, 1).response) == ["message-0"]


@pytest.mark.parametrize(
    "positions",
    [[True, False], [False, False], {-1}, [2], ["0"], [0.0], {"0": 1}, "01", None, 1, [0, None], {True}],
    ids=str,
)
def test_a_commit_that_returns_no_valid_positions_acknowledges_nothing(positions, caplog):
    """A position is an integer from 0, less than the number of results; anything else may mean anything."""

    async def commit(done, batch):
        return positions

    handler = fanfold.consumer(commit=commit)(lambda body: None)
    assert ids(deliver(handler, 1, 2).response) == ["message-0", "message-1"]
    assert "positions" in caplog.text


@pytest.mark.parametrize(
    "positions", [[0, 1], (1, 0), {0, 1}, frozenset({0, 1}), range(2), [0, 1, 1], {0: "a", 1: "b"}]
)
def test_a_commit_may_return_any_collection_of_positions(positions):
    """A list, a set, a range or the keys of a dict."""

    async def commit(done, batch):
        return positions

    handler = fanfold.consumer(commit=commit)(lambda body: None)
    assert ids(deliver(handler, 1, 2).response) == []


async def test_a_record_that_ends_in_the_margin_is_committed_and_the_response_does_not_wait_longer(monkeypatch):
    """Records that ended before the margin are committed first; then no handler is cancelled."""
    committing, commits = asyncio.Event(), []

    async def commit(done, shared) -> set[int]:
        committing.set()
        commits.append([record.body for record, _ in done])
        return set(range(len(done)))

    @fanfold.consumer(commit=commit, concurrency=2)
    async def handler(number: int) -> None:
        if number == 2:
            await committing.wait()

    deadline = Deadline(time.monotonic() + 60.1, 60)  # the margin begins in 0.1 s
    monkeypatch.setattr("fanfold._consumer.consumer.deadline_of", lambda context, margin: deadline)
    result = await handler.process(make_event(1, 2))
    assert deadline.remaining() > deadline.margin / 2
    assert ids(result.response) == []
    assert commits == [["1"], ["2"]]


async def test_a_batch_that_is_cancelled_while_it_commits_ends():
    """The cancellation reaches the caller, and nothing is acknowledged."""
    committing = asyncio.Event()

    async def commit(done, shared) -> list[int]:
        committing.set()
        await asyncio.Event().wait()

    batch = asyncio.ensure_future(fanfold.consumer(commit=commit)(nothing).process(make_event(1)))
    await committing.wait()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch


async def nothing(number) -> None: ...

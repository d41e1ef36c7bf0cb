"""What an observer of a consumer sees, and that it disturbs nothing."""

from __future__ import annotations

import fanfold
from fanfold import Done, Failed
from fanfold.testing import deliver, make_context, make_event


class Seen:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.results: list[fanfold.BatchResult] = []

    def around(self, call):
        async def noted(record):
            self.started.append(record.message_id)
            return await call(record)

        return noted

    def batch_ended(self, result):
        self.results.append(result)


@fanfold.consumer
async def handler(number: int) -> int:
    if number == 2:
        raise ValueError(number)
    return number


def test_an_observer_sees_every_call_and_every_result():
    """Around each call of the handler, and once for each batch, with how every record ended."""
    seen = Seen()
    watched = handler.with_settings(concurrency=1)
    watched.add_observer(seen)
    deliver(watched, 1, 2)
    deliver(watched, 3)
    assert seen.started == ["message-0", "message-1", "message-0"]
    assert [[type(outcome) for outcome in result.outcomes] for result in seen.results] == [[Done, Failed], [Done]]


def test_a_consumer_with_other_settings_keeps_its_observers():
    """They are added once, to whatever comes of the consumer."""
    seen = Seen()
    first = handler.with_settings()
    first.add_observer(seen)
    deliver(first.with_settings(concurrency=2), 1)
    assert len(seen.results) == 1


def test_an_observer_that_fails_is_logged_and_disturbs_nothing(caplog):
    """The answer is the same as without it."""

    class Broken(Seen):
        def batch_ended(self, result):
            raise RuntimeError("the meter is broken")

    watched = handler.with_settings()
    watched.add_observer(Broken())
    assert deliver(watched, 1, 2).response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert "an observer failed" in caplog.text
    assert "the meter is broken" in caplog.text


async def test_a_session_keeps_one_lifespan_for_several_batches():
    """Entered once, left at the end, whatever the batches do."""
    entered = []

    class Life:
        async def __aenter__(self):
            entered.append("in")

        async def __aexit__(self, *_):
            entered.append("out")

    async with handler.with_settings(lifespan=Life).session() as process:
        results = [await process(make_event(number), make_context()) for number in (1, 2)]
        assert entered == ["in"]
    assert [type(result.outcomes[0]) for result in results] == [Done, Failed]
    assert entered == ["in", "out"]

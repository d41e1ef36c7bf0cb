"""Where the messages of a dead-letter queue go back to, and which doubts are errors."""

import pytest

from dead_letter_queues import ARN
from fanfold._dead_letters.letters import Letter
from fanfold._dead_letters.routes import check_before_reading, routes_of
from fanfold.errors import ConfigurationError

DEAD, ORDERS, BILLS = f"{ARN}dead", f"{ARN}orders", f"{ARN}bills"


def letters(*sources: str | None) -> list[Letter]:
    return [Letter("m", "m", "reason", source, None) for source in sources]


@pytest.mark.parametrize(
    ("named", "sources", "target", "routes"),
    [
        ([ORDERS], [ORDERS], None, {ORDERS: ORDERS}),
        ([ORDERS, BILLS], [ORDERS, BILLS], None, {ORDERS: ORDERS, BILLS: BILLS}),
        ([None], [ORDERS], None, {None: ORDERS}),
        ([None, ORDERS], [ORDERS], None, {None: ORDERS, ORDERS: ORDERS}),
        ([ORDERS], [], None, {ORDERS: ORDERS}),
        ([ORDERS], None, None, {ORDERS: ORDERS}),
        ([ORDERS, None], [ORDERS, BILLS], BILLS, {ORDERS: BILLS, None: BILLS}),
        ([None], [ORDERS], BILLS, {None: BILLS}),
    ],
)
def test_messages_go_back_to_the_queue_that_they_came_from(named, sources, target, routes):
    """It is named by the message, or by the only redrive policy; the user may choose another one."""
    assert routes_of(letters(*named), DEAD, sources, target) == routes


@pytest.mark.parametrize(
    ("named", "sources", "target", "message"),
    [
        ([None], [], None, "queue dead is not known to be a dead-letter queue: no redrive policy names it"),
        ([None], None, ORDERS, "dead-letter queue: its source queues cannot be listed, and none of its messages has"),
        ([None], [ORDERS, BILLS], None, "do not name their source queue, and it serves orders, bills: specify --to"),
        ([None, ORDERS], [], None, "do not name their source queue, and no redrive policy names it: specify --to"),
        ([BILLS], [ORDERS], None, "has messages from .*bills, whose redrive policy names another .*: specify --to"),
        (["arn:aws:sqs:eu-west-1:999999999999:x"], [], None, "in another account or Region: specify --to"),
        ([ORDERS], [ORDERS], DEAD, "queue dead is the dead-letter queue itself"),
        ([ORDERS], [ORDERS], f"{BILLS}.fifo", "bills.fifo is a FIFO queue, and dead is a standard queue"),
        ([f"{ORDERS}.fifo"], [], None, "orders.fifo is a FIFO queue, and dead is a standard queue"),
    ],
)
def test_a_doubt_is_one_clear_error(named, sources, target, message):
    """A queue that is not a dead-letter queue, an unknown source, and a target of the other kind."""
    with pytest.raises(ConfigurationError, match=message):
        routes_of(letters(*named), DEAD, sources, target)


def test_a_standard_target_of_a_fifo_queue_is_refused():
    """The order of the groups would be lost."""
    with pytest.raises(ConfigurationError, match=r"orders is a standard queue, and dead\.fifo is a FIFO queue"):
        routes_of(letters(f"{ORDERS}.fifo"), f"{DEAD}.fifo", [f"{ORDERS}.fifo"], ORDERS)


@pytest.mark.parametrize(("sources", "why"), [([], "no redrive policy names it"), (None, "cannot be listed")])
def test_a_live_queue_is_not_read_at_all(sources, why):
    """It has a dead-letter queue itself, so each read would use a receive of its messages."""
    with pytest.raises(ConfigurationError, match=f"queue orders is not known to be a dead-letter queue: .*{why}"):
        check_before_reading(ORDERS, sources, has_policy=True)
    check_before_reading(DEAD, sources, has_policy=False)
    check_before_reading(DEAD, [ORDERS], has_policy=True)

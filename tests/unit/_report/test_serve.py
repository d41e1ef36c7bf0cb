"""The page of a run on 127.0.0.1."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import unquote

import anyio
import pytest

from drawn_runs import DrawnRun, details_of
from fanfold._ports.run import RunState
from fanfold._report.page import RunPage
from fanfold._report.serve import HOST, LivePage, open_server
from fanfold.errors import ConfigurationError, FanfoldError
from fanfold.testing import ManualClock

HOST_HEADER = f"{HOST}:80"


class Reads:
    """Counts reads, each of which takes some seconds."""

    def __init__(self, clock: ManualClock, state: RunState = RunState.RUNNING, seconds: float = 0.0) -> None:
        self.count = 0
        self.clock = clock
        self.seconds = seconds
        self.source = RunPage(anyio.run(details_of, DrawnRun(20, state=state)))

    def __call__(self) -> RunPage:
        self.count += 1
        self.clock.advance(self.seconds)
        return self.source


def test_nothing_is_read_unless_a_browser_requests_it():
    """Two windows that look at the same time cost one read."""
    clock = ManualClock()
    reads = Reads(clock)
    live = LivePage(reads, clock)
    assert reads.count == 0
    assert live.respond("/", HOST_HEADER, 80).status == 200
    assert live.respond("/main", HOST_HEADER, 80).status == 200
    assert reads.count == 1
    clock.advance(2.0)
    live.respond("/main", HOST_HEADER, 80)
    assert reads.count == 2


def test_a_run_that_takes_long_to_read_is_read_rarely():
    """A read of three seconds is repeated after thirty."""
    clock = ManualClock()
    reads = Reads(clock, seconds=3.0)
    live = LivePage(reads, clock)
    response = live.respond("/main", HOST_HEADER, 80)
    assert response.headers is not None
    assert response.headers["Fanfold-Next-Ms"] == "30000"
    clock.advance(29.0)
    live.respond("/main", HOST_HEADER, 80)
    assert reads.count == 1


def test_the_page_of_a_run_that_has_ended_no_longer_refreshes():
    """The line states that."""
    clock = ManualClock()
    response = LivePage(Reads(clock, RunState.SUCCEEDED), clock).respond("/main", HOST_HEADER, 80)
    assert response.headers is not None
    assert response.headers["Fanfold-Next-Ms"] == "0"
    assert unquote(response.headers["Fanfold-Line"]).endswith("this page no longer refreshes.")


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/", "evil.example:80", 403), ("/", HOST, 403), ("/other", HOST_HEADER, 404), ("/", "localhost:80", 200)],
)
def test_only_the_page_is_served_and_only_under_its_own_name(path: str, host: str, status: int):
    """Another site cannot read it by a name that resolves to this machine."""
    clock = ManualClock()
    assert LivePage(Reads(clock), clock).respond(path, host, 80).status == status


def test_a_run_that_cannot_be_read_is_a_line_that_the_page_shows():
    """The page tries again later."""

    def read() -> RunPage:
        raise FanfoldError("run 'r-1' is not in the ledger")

    response = LivePage(read).respond("/main", HOST_HEADER, 80)
    assert (response.status, response.body) == (503, "run 'r-1' is not in the ledger")


@contextmanager
def listening(live: LivePage) -> Iterator[HTTPConnection]:
    """Serve on a thread during the block; yield a connection."""
    with open_server(live, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = HTTPConnection(HOST, server.server_port, timeout=10)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


def test_the_page_is_served_over_http_with_a_strict_policy():
    """Nothing is loaded from elsewhere, and nothing is stored."""
    clock = ManualClock()
    with listening(LivePage(Reads(clock), clock)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert b"<h1>Run r-1 of delays</h1>" in response.read()
        connection.request("GET", "/nothing")
        assert connection.getresponse().status == 404
        with pytest.raises(ConfigurationError, match=f"--port {connection.port} is not available"):
            open_server(LivePage(Reads(clock), clock), connection.port)

"""A local shop that accepts orders by HTTP, to try the example with; it is not deployed.

::

    python shop.py [--port 8088] [--latency 0.02] [--fails 97] [--hangs 997] [--refuses 1999]

An order whose number is a multiple of ``--fails`` gets a 503 the first time, a multiple of ``--hangs`` gets no response
the first time, and a multiple of ``--refuses`` always gets a 422; 0 means never. ``GET /seen`` returns the number of
requests, the accepted orders, and the maximum number of open connections.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter

from aiohttp import web


class Shop:
    """Accepts orders after a latency, and counts requests and connections."""

    def __init__(self, *, latency: float, fails: int, hangs: int, refuses: int) -> None:
        self.latency, self.fails, self.hangs, self.refuses = latency, fails, hangs, refuses
        self.attempts: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()
        self.open: set[asyncio.Transport] = set()
        self.most_open = 0

    async def put(self, request: web.Request) -> web.Response:
        """Accept an order, or fail as configured."""
        self._count_connections(request)
        number = int(request.match_info["number"])
        await request.read()
        self.attempts[number] += 1
        first = self.attempts[number] == 1
        if first and is_multiple(number, self.hangs):
            await asyncio.sleep(3600)
        await asyncio.sleep(self.latency)
        if is_multiple(number, self.refuses):
            return web.Response(status=422, text="no such article")
        if first and is_multiple(number, self.fails):
            return web.Response(status=503)
        self.taken[number] += 1
        return web.Response(status=204)

    async def seen(self, _: web.Request) -> web.Response:
        """Return what the shop has counted."""
        return web.json_response(
            {
                "requests": self.attempts.total(),
                "taken": sorted(self.taken),
                "taken_twice": sorted(number for number, times in self.taken.items() if times > 1),
                "most_connections": self.most_open,
            }
        )

    def _count_connections(self, request: web.Request) -> None:
        self.open = {transport for transport in self.open if not transport.is_closing()}
        if isinstance(request.transport, asyncio.Transport):
            self.open.add(request.transport)
        self.most_open = max(self.most_open, len(self.open))


def is_multiple(number: int, of: int) -> bool:
    """Return whether a number is a multiple of another; never for 0."""
    return bool(of) and number % of == 0


async def serve(shop: Shop, port: int) -> None:
    """Print the address and serve until the process ends."""
    app = web.Application()
    app.add_routes([web.put("/orders/{number}", shop.put), web.get("/seen", shop.seen)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    host, bound = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{bound}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Run the shop."""
    parser = argparse.ArgumentParser(description="A shop that accepts orders by HTTP.")
    parser.add_argument("--port", type=int, default=8088, help="0 for a free one (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds to a response (%(default)s)")
    parser.add_argument("--fails", type=int, default=97, help="orders that fail at first (every %(default)s)")
    parser.add_argument("--hangs", type=int, default=997, help="orders that hang at first (every %(default)s)")
    parser.add_argument("--refuses", type=int, default=1999, help="orders that are refused (every %(default)s)")
    arguments = parser.parse_args()
    shop = Shop(latency=arguments.latency, fails=arguments.fails, hangs=arguments.hangs, refuses=arguments.refuses)
    asyncio.run(serve(shop, arguments.port))


if __name__ == "__main__":
    main()

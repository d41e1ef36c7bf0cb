"""A shop on this machine that takes orders by HTTP, to try the example with; not part of what is deployed.

::

    python shop.py [--port 8088] [--latency 0.02] [--fails 97] [--hangs 997] [--refuses 1999]

An order whose number is a multiple of ``--fails`` gets a 503 the first time, one of ``--hangs`` no answer the first
time, one of ``--refuses`` a 422 each time; 0 is never. ``GET /seen`` tells how many requests there were, which orders
were taken, and how many connections were open at most.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter

from aiohttp import web


class Shop:
    """Takes orders after a while, and counts."""

    def __init__(self, *, latency: float, fails: int, hangs: int, refuses: int) -> None:
        self.latency, self.fails, self.hangs, self.refuses = latency, fails, hangs, refuses
        self.tries: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()
        self.open: set[asyncio.Transport] = set()
        self.most_open = 0

    async def put(self, request: web.Request) -> web.Response:
        """Take an order, or do not."""
        self._count_connections(request)
        number = int(request.match_info["number"])
        await request.read()
        self.tries[number] += 1
        first = self.tries[number] == 1
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
        """Tell what was seen."""
        return web.json_response(
            {
                "requests": self.tries.total(),
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
    """Tell whether a number is a multiple; of 0 nothing is."""
    return bool(of) and number % of == 0


async def serve(shop: Shop, port: int) -> None:
    """Serve until ended; print the address."""
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
    parser = argparse.ArgumentParser(description="A shop that takes orders by HTTP.")
    parser.add_argument("--port", type=int, default=8088, help="0 for a free one (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds to an answer (%(default)s)")
    parser.add_argument("--fails", type=int, default=97, help="orders that fail at first (every %(default)s)")
    parser.add_argument("--hangs", type=int, default=997, help="orders that hang at first (every %(default)s)")
    parser.add_argument("--refuses", type=int, default=1999, help="orders that are refused (every %(default)s)")
    given = parser.parse_args()
    shop = Shop(latency=given.latency, fails=given.fails, hangs=given.hangs, refuses=given.refuses)
    asyncio.run(serve(shop, given.port))


if __name__ == "__main__":
    main()

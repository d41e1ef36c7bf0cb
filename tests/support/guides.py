"""The code of a migration guide, and a shop that it calls."""

import asyncio
import re
import warnings
from pathlib import Path
from typing import Any

from fanfold import Consumer
from fanfold.testing import make_context
from powertools_store import InProcess

DOCS = Path(__file__).parents[2] / "docs"
ORDERS = [{"id": number, "customer": None if number == 2 else "c"} for number in (1, 2, 3)]
"""The second order cannot be shipped."""


def code_of(text: str) -> list[str]:
    """Return the Python blocks of a page, or of a section, that run."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (DOCS / f"{name}.md").read_text()


class Shop:
    """Functions that the handlers of a guide call."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.names: dict[str, Any] = {
            "__name__": "guide",
            "ship": self.ship,
            "ship_now": self.ship_now,
            "import_object": lambda *place: self.done.append(place),
            "store": InProcess(),
        }

    async def ship(self, order: dict[str, Any]) -> None:
        """Ship an order later in the event loop."""
        await asyncio.sleep(0)
        self.ship_now(order)

    def ship_now(self, order: dict[str, Any]) -> None:
        """Ship an order.

        Raises:
            ValueError: If it has no customer.
        """
        if order["customer"] is None:
            raise ValueError("an order without a customer")
        self.done.append(order["id"])

    def define(self, code: str) -> dict[str, Any]:
        """Run a block of a guide, and return the names that it defines."""
        exec(compile(code, "guide.md", "exec"), self.names)  # noqa: S102 - our own page
        return self.names

    def run(self, code: str, event: dict[str, Any], name: str = "handler") -> Any:
        """Run a block of a guide, and call its handler."""
        with warnings.catch_warnings():
            response = self.define(code)[name](event, make_context())
        for value in self.names.values():
            if isinstance(value, Consumer):
                value.close()
        return response

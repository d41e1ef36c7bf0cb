"""The settings of the handler's process in a replay, which reach it in its environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Final

from fanfold._replay.outage import Outage

VARIABLE: Final = "FANFOLD_REPLAY"
"""The environment variable with the settings of the handler's process, as JSON."""
HANDLER_VARIABLE: Final = "FANFOLD_REPLAY_HANDLER"
"""The environment variable that names the user's handler under Lambda's runtime client, ``MODULE:NAME``."""
NOW: Final = "fanfold_now"
"""The field of the client context with the simulated time of an invocation, seconds."""


@dataclass(frozen=True, slots=True)
class HandlerSettings:
    """The settings of the handler's process."""

    seed: int = 0
    """Seed of all random choices."""
    entries_url: str | None = None
    """The endpoint that keeps idempotency entries; None to use the table of the handler."""
    outage: Outage | None = None
    """The outage during which calls of a consumer's handler fail."""
    max_receives: int | None = None
    """Receives after which a message is moved to the dead-letter queue; None for no limit."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the handler's process."""
        variables = {
            VARIABLE: json.dumps(asdict(self)),
            "PYTHONHASHSEED": str(self.seed % 2**32),  # so that the order of a set does not change a replay
        }
        if self.entries_url is not None:  # Powertools' idempotency has no store in memory
            variables["POWERTOOLS_IDEMPOTENCY_DISABLED"] = "true"
        return variables


def take_settings() -> HandlerSettings | None:
    """Return the settings of this process, and remove them from its environment; None if it is not part of a replay."""
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    values = json.loads(text)
    outage = values.pop("outage")
    return HandlerSettings(**values, outage=None if outage is None else Outage(**outage))

"""Log lines of a handler as CloudWatch Logs shows them: the root logger has the handler that Lambda installs.

So ``logger.info`` is shown if the handler sets the level INFO, as on Lambda, and ``logging.basicConfig`` has no effect
without ``force=True``. The format is that of Lambda's text logs. (Source: Lambda developer guide, "Log and monitor
Python Lambda functions".)
"""

from __future__ import annotations

import logging
import time
from typing import IO

_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"


class LambdaLogging:
    """The log handler of Lambda's runtime, on the root logger.

    Args:
        stream: Receives the lines.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.request_id: str = ""
        """The request id of the current invocation; empty during the import of the handler's module."""
        formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        handler.addFilter(self._add_request_id)
        logging.getLogger().addHandler(handler)

    def _add_request_id(self, line: logging.LogRecord) -> bool:
        line.aws_request_id = self.request_id
        return True

"""Ways in which a handler can end, by name."""

import asyncio
import contextlib

from fanfold import Reject, Retry


async def end_as(ending: str) -> None:
    """Raise, request a retry, exit, hang, …, according to a name; return for any other name."""
    match ending:
        case "raise":
            raise ValueError
        case "retry":
            raise Retry(after=1)
        case "reject":
            raise Reject("never")
        case "cancel":
            raise asyncio.CancelledError
        case "exit":
            raise SystemExit
        case "self-cancel":
            asyncio.current_task().cancel()
        case "hang":
            await asyncio.Event().wait()
        case "swallow":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

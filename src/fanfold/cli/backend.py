"""The backend of a deployed job, for commands."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from fanfold._ports.backend import Backend
from fanfold.errors import MissingExtraError


def deployed_backend() -> AbstractAsyncContextManager[Backend]:
    """Open the backend that the ``FANFOLD_…`` environment variables name.

    Raises:
        MissingExtraError: If the SDK is not installed.
    """
    try:
        from fanfold.aws.backend import from_environment
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "runs on AWS") from error
    return from_environment()

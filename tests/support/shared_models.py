"""The AWS SDK's models of the services, parsed once per process instead of once per client: a tenth of its time."""

import functools
import importlib.util
from typing import Any


class _Paths(list[str]):
    """The folders of the models; each session of boto3 adds its own again."""

    def append(self, path: str) -> None:
        if path not in self:
            super().append(path)


def share_models() -> None:
    """Let all sessions of this process, and of processes forked from it, share one loader of models."""
    if importlib.util.find_spec("botocore") is None:
        return
    import botocore.session
    from botocore.loaders import create_loader

    @functools.cache
    def shared(*arguments: Any) -> Any:
        loader = create_loader(*arguments)
        loader._search_paths = _Paths(loader._search_paths)
        return loader

    botocore.session.create_loader = shared

"""A job from a folder, deployed to the local AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import boto3

from fanfold.errors import ConfigurationError
from fanfold.local.deploy import deploy, variables_of
from fanfold.local.stack import LocalStack
from fanfold.project import project_folder

__all__ = ["deploy_job"]

_CODE_BUCKET: Final = "fanfold-code"


def deploy_job(stack: LocalStack, folder: Path, module: str) -> dict[str, str]:
    """Deploy a job by fanfold's own template; return the variables that name its queues, its table and its bucket.

    Raises:
        ConfigurationError: If the module is not in the folder.
        FanfoldError: If the stack could not be created.
    """
    if not (folder / f"{module}.py").is_file():
        raise ConfigurationError(f"--job {folder}: there is no {module}.py; name the module with --module")
    clients = {name: boto3.client(name, **stack.client_settings) for name in ("s3", "cloudformation")}
    clients["s3"].create_bucket(Bucket=_CODE_BUCKET)
    outputs = deploy(
        clients,
        project_folder() / "template.yaml",
        name="fanfold-local",
        parameters={"HandlerModule": module},
        code_bucket=_CODE_BUCKET,
        code=folder,
    )
    return variables_of(outputs)

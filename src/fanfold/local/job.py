"""A job from a folder, deployed to the local AWS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import boto3

from fanfold.errors import ConfigurationError
from fanfold.local.deploy import deploy, variables_of
from fanfold.local.stack import LocalStack
from fanfold.project import project_folder

__all__ = ["deploy_job"]

_CODE_BUCKET: Final = "fanfold-code"


def _check_handlers(folder: Path, module: str) -> None:
    """See that the functions would find their handlers: a worker that cannot import its module says so to nobody.

    Raises:
        ConfigurationError: If the module cannot be imported, or lacks one.
    """
    names = ", ".join(f"{name}_handler" for name in ("scatter", "segment", "dead_letter", "fold"))
    command = [sys.executable, "-c", f"from {module} import {names}"]
    tried = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - the user's own
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["it ended"])[-1]
        raise ConfigurationError(f"--job {folder}: {module}.py has to define {names}: {reason}")


def deploy_job(stack: LocalStack, folder: Path, module: str) -> dict[str, str]:
    """Deploy a job by fanfold's own template; return the variables that name its queues, its table and its bucket.

    Raises:
        ConfigurationError: If the module is not in the folder.
        FanfoldError: If the stack could not be created.
    """
    if not (folder / f"{module}.py").is_file():
        raise ConfigurationError(f"--job {folder}: there is no {module}.py; name the module with --module")
    _check_handlers(folder, module)
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

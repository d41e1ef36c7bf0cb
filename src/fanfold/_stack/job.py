"""A job from a folder, deployed to the local AWS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import boto3

from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack
from fanfold._stack.project import project_folder
from fanfold.aws.outputs import variables_of
from fanfold.errors import ConfigurationError

_CODE_BUCKET: Final = "fanfold-code"
_HANDLERS: Final = ("scatter", "segment", "dead_letter", "fold")
_MACHINE_HANDLERS: Final = ("plan", "task", "collect")


def _check_handlers(folder: Path, module: str, *, with_machine: bool) -> None:
    """See that the functions would find their handlers: a worker that cannot import its module says so to nobody.

    Raises:
        ConfigurationError: If the module cannot be imported, or lacks one.
    """
    wanted = _HANDLERS + _MACHINE_HANDLERS if with_machine else _HANDLERS
    names = ", ".join(f"{name}_handler" for name in wanted)
    command = [sys.executable, "-c", f"from {module} import {names}"]
    tried = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - the user's own
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["it ended"])[-1]
        raise ConfigurationError(
            f"--job {folder}: {module}.py has to define {names}, or name another module with --module: {reason}"
        )


def deploy_job(
    stack: LocalStack, folder: Path, module: str, parameters: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Deploy a job by fanfold's own template; return the variables that name it.

    Args:
        stack: The local AWS.
        folder: The job's code.
        module: The module that holds the handlers.
        parameters: Of the template; None for its defaults.

    Raises:
        ConfigurationError: If the module is not in the folder, or a parameter is none of the template's.
        FanfoldError: If the stack could not be created.
    """
    if not (folder / f"{module}.py").is_file():
        raise ConfigurationError(f"--job {folder}: there is no {module}.py; name the module with --module")
    given = {"StateMachine": "none", **(parameters or {}), "HandlerModule": module}
    _check_handlers(folder, module, with_machine=given["StateMachine"] != "none")
    clients = {name: boto3.client(name, **stack.client_settings) for name in ("s3", "cloudformation")}
    clients["s3"].create_bucket(Bucket=_CODE_BUCKET)
    outputs = deploy(
        clients,
        project_folder() / "template.yaml",
        name="fanfold-local",
        parameters=given,
        code_bucket=_CODE_BUCKET,
        code=folder,
    )
    return variables_of(outputs)

"""A deployment of a template by CloudFormation, as ``sam package`` and ``sam deploy`` do it, and a job's by ours."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import boto3
import yaml
from botocore.exceptions import ClientError

from fanfold._stack.emulator import LocalStack
from fanfold._stack.project import project_folder
from fanfold.aws.outputs import variables_of
from fanfold.errors import ConfigurationError, FanfoldError

_POLL_SECONDS = 0.1
_DEPLOY_SECONDS: Final = 120.0
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def deploy(
    clients: Mapping[str, Any],
    template: Path,
    *,
    name: str,
    parameters: Mapping[str, str],
    code_bucket: str,
    code: Path | None = None,
) -> dict[str, str]:
    """Package the functions of a SAM template, create a stack of it, and return the stack's outputs.

    Args:
        clients: boto3 clients by service: ``s3`` and ``cloudformation``.
        template: The template.
        name: Name of the stack.
        parameters: Values of the template's parameters.
        code_bucket: A bucket that exists, for the packages.
        code: Folder of the functions' code; None for the template's ``CodeUri``, which is relative to it.

    Raises:
        ConfigurationError: If CloudFormation refuses it, for a parameter's value say.
        FanfoldError: If the stack could not be created; names the first resource that failed.
    """
    body = _packaged(clients["s3"], template, code_bucket, code)
    _check_parameters(body.get("Parameters", {}), parameters)
    cloudformation = clients["cloudformation"]
    try:
        cloudformation.create_stack(
            StackName=name,
            TemplateURL=_stored(
                clients["s3"], code_bucket, json.dumps(body).encode()
            ),  # over 51,200 bytes it has to be
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
    except ClientError as error:
        raise ConfigurationError(f"stack {name}: {error.response['Error']['Message']}") from error
    until = time.monotonic() + _DEPLOY_SECONDS
    while (stack := cloudformation.describe_stacks(StackName=name)["Stacks"][0])["StackStatus"].endswith(
        "_IN_PROGRESS"
    ) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise FanfoldError(f"stack {name}: {stack['StackStatus']}: {_first_failure(cloudformation, name)}")
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def package_folder(folder: Path) -> bytes:
    """Return the Python modules of a folder as a zip; the same bytes for the same files.

    Hidden folders are left out: an environment, or what was built.
    """
    names = (file.relative_to(folder) for file in sorted(folder.rglob("*.py")))
    wanted = (name for name in names if not any(part.startswith(".") for part in name.parts))
    return _zip({str(name): (folder / name).read_bytes() for name in wanted})


def _check_parameters(known: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Refuse names that are none, as AWS does: the local CloudFormation takes them."""
    for name in given:
        if name not in known:
            raise ConfigurationError(f"the template has no parameter {name!r}; it has {', '.join(known)}")


def _packaged(s3: Any, template: Path, bucket: str, code: Path | None) -> dict[str, Any]:
    with template.open(encoding="utf-8") as text:
        body: dict[str, Any] = yaml.load(text, _IntrinsicLoader)  # noqa: S506 - a SafeLoader with CloudFormation's tags
    common = body.get("Globals", {}).get("Function", {})
    for owner in (common, *_properties(body, "AWS::Serverless::Function")):
        if "CodeUri" in owner:
            folder = code or template.parent / owner["CodeUri"]
            owner["CodeUri"] = _upload(s3, bucket, package_folder(folder))
    for machine in _properties(body, "AWS::Serverless::StateMachine"):
        if isinstance(uri := machine.pop("DefinitionUri", None), str):
            machine["Definition"] = json.loads((template.parent / uri).read_text(encoding="utf-8"))
    for layer in _properties(body, "AWS::Serverless::LayerVersion"):
        # The emulator runs functions in this very environment: what a layer brings is there already.
        layer["ContentUri"] = _upload(s3, bucket, _zip({"python/": b""}))
    return body


def _properties(body: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each.setdefault("Properties", {}) for each in body["Resources"].values() if each.get("Type") == kind]


def _upload(s3: Any, bucket: str, data: bytes) -> dict[str, str]:
    key = f"{hashlib.sha256(data).hexdigest()}.zip"
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    return {"Bucket": bucket, "Key": key}


def _stored(s3: Any, bucket: str, template: bytes) -> str:
    key = f"{hashlib.sha256(template).hexdigest()}.template"
    s3.put_object(Bucket=bucket, Key=key, Body=template)
    return f"{s3.meta.endpoint_url}/{bucket}/{key}"


def _zip(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in files.items():
            package.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
    return archive.getvalue()


def _first_failure(cloudformation: Any, name: str) -> str:
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
    if not failed:
        return "no resource says why"
    first = failed[-1]
    return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', 'no reason given')}"


class _IntrinsicLoader(yaml.SafeLoader):  # type: ignore[misc] # untyped base
    """Reads the short forms of CloudFormation's functions."""


def _intrinsic(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


_IntrinsicLoader.add_multi_constructor("!", _intrinsic)


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

"""Deploy a template by CloudFormation, like ``sam package`` and ``sam deploy``; deploy a job by fanfold's template."""

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
from fanfold.aws.outputs import present_variables_of, variables_of
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
    """Package the functions of a SAM template, create a stack from it, and return the stack's outputs.

    Args:
        clients: boto3 clients by service: ``s3`` and ``cloudformation``.
        template: The template.
        name: Name of the stack.
        parameters: Values of the template's parameters.
        code_bucket: An existing bucket for the packages.
        code: Folder of the functions' code; None for the template's ``CodeUri``, relative to the template.

    Raises:
        ConfigurationError: If CloudFormation refuses the template, for example because of a parameter's value.
        FanfoldError: If the stack could not be created; names the first resource that failed.
    """
    body = _packaged(clients["s3"], template, code_bucket, code)
    _check_parameters(body.get("Parameters", {}), parameters)
    cloudformation = clients["cloudformation"]
    try:
        cloudformation.create_stack(
            StackName=name,
            # CloudFormation requires a URL for a template of more than 51,200 bytes.
            TemplateURL=_stored(clients["s3"], code_bucket, json.dumps(body).encode()),
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
    """Return the Python modules of a folder as a zip file; the same bytes for the same files.

    Folders whose name starts with a dot are skipped, such as a virtual environment or build output.
    """
    names = (file.relative_to(folder) for file in sorted(folder.rglob("*.py")))
    modules = (name for name in names if not any(part.startswith(".") for part in name.parts))
    return _zip({str(name): (folder / name).read_bytes() for name in modules})


def _check_parameters(known: Mapping[str, Any], values: Mapping[str, str]) -> None:
    """Refuse unknown parameters like AWS does: the local CloudFormation ignores them."""
    for name in values:
        if name not in known:
            raise ConfigurationError(f"the template has no parameter {name!r}; it has {', '.join(known)}")


def _packaged(s3: Any, template: Path, bucket: str, code: Path | None) -> dict[str, Any]:
    body = _read(template)
    common = body.get("Globals", {}).get("Function", {})
    for owner in (common, *_properties(body, "AWS::Serverless::Function")):
        if "CodeUri" in owner:
            folder = code or template.parent / owner["CodeUri"]
            owner["CodeUri"] = _upload(s3, bucket, package_folder(folder))
    for machine in _properties(body, "AWS::Serverless::StateMachine"):
        if isinstance(uri := machine.pop("DefinitionUri", None), str):
            machine["Definition"] = json.loads((template.parent / uri).read_text(encoding="utf-8"))
    for layer in _properties(body, "AWS::Serverless::LayerVersion"):
        # The emulator runs functions in this Python environment, which already contains what the layer provides.
        layer["ContentUri"] = _upload(s3, bucket, _zip({"python/": b""}))
    return body


def _read(template: Path) -> dict[str, Any]:
    try:
        with template.open(encoding="utf-8") as text:
            body: Any = yaml.load(text, _IntrinsicLoader)  # noqa: S506 - a SafeLoader with CloudFormation's tags
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{template} is not YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(body, dict) or not isinstance(body.get("Resources"), dict):
        raise ConfigurationError(f"{template} is not a SAM template: it has no 'Resources'")
    return body


def _properties(body: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    resources = body["Resources"].values()
    return [resource.setdefault("Properties", {}) for resource in resources if resource.get("Type") == kind]


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
        return "no resource reports a reason"
    first = failed[-1]
    return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', 'CloudFormation reported no reason')}"


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
    """Check that the handlers can be imported: a deployed function that cannot import its module reports no error here.

    Raises:
        ConfigurationError: If the module cannot be imported, or lacks a handler.
    """
    handlers = _HANDLERS + _MACHINE_HANDLERS if with_machine else _HANDLERS
    names = ", ".join(f"{name}_handler" for name in handlers)
    command = [sys.executable, "-c", f"from {module} import {names}"]
    imported = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - user code
    if imported.returncode:
        reason = (imported.stderr.strip().splitlines() or ["the process ended without an error message"])[-1]
        raise ConfigurationError(
            f"--job {folder}: {module}.py must define {names}: {reason}; use --module to name another module"
        )


def deploy_job(
    stack: LocalStack, folder: Path, module: str, parameters: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Deploy a job with fanfold's template; return the environment variables of the deployed job.

    Args:
        stack: The local AWS.
        folder: Folder of the job's code.
        module: The module that defines the handlers.
        parameters: Parameters of the template; None for its defaults.

    Raises:
        ConfigurationError: If the module is not in the folder, or the template has no such parameter.
        FanfoldError: If the stack could not be created.
    """
    if not (folder / f"{module}.py").is_file():
        raise ConfigurationError(f"--job {folder}: {module}.py does not exist; use --module to name the module")
    values = {"StateMachine": "none", **(parameters or {}), "HandlerModule": module}
    _check_handlers(folder, module, with_machine=values["StateMachine"] != "none")
    return variables_of(_deploy_locally(stack, project_folder() / "template.yaml", values, folder))


def deploy_template(stack: LocalStack, template: Path, parameters: Mapping[str, str]) -> dict[str, str]:
    """Deploy a SAM template with the code that it names; return the environment variables for its queues.

    Args:
        stack: The local AWS.
        template: The template, such as that of a consumer.
        parameters: Parameters of the template.

    Raises:
        ConfigurationError: If the file is not a template, or has no such parameter.
        FanfoldError: If the stack could not be created.
    """
    return present_variables_of(_deploy_locally(stack, template, parameters))


def _deploy_locally(
    stack: LocalStack, template: Path, parameters: Mapping[str, str], code: Path | None = None
) -> dict[str, str]:
    clients = {name: boto3.client(name, **stack.client_settings) for name in ("s3", "cloudformation")}
    clients["s3"].create_bucket(Bucket=_CODE_BUCKET)
    return deploy(clients, template, name="fanfold-local", parameters=parameters, code_bucket=_CODE_BUCKET, code=code)

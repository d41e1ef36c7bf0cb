"""Templates of a queue and a function that it invokes, as values."""

import platform
import sys
from typing import Any

RUNTIME = f"python3.{sys.version_info.minor}"
FUNCTION = {"Handler": "app.handler", "Runtime": RUNTIME, "CodeUri": "src"}
OPEN = {"Ref": "Open"}
OTHER_MACHINE = "x86_64" if platform.machine().lower() in {"aarch64", "arm64"} else "arm64"


def template(
    *, queue: Any = None, function: Any = None, event: Any = None, globals_: Any = None, **resources: Any
) -> dict[str, Any]:
    """Return a template of a queue and a SAM function that it invokes."""
    properties = {"Queue": {"Fn::GetAtt": ["Jobs", "Arn"]}} | (event or {})
    events = {"Jobs": {"Type": "SQS", "Properties": properties}}
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Globals": {"Function": globals_ or {}},
        "Parameters": {"Open": {"Type": "String"}, "Seconds": {"Type": "Number", "Default": 45}},
        "Mappings": {"Sizes": {"prod": {"Seconds": 45}}},
        "Conditions": {"Unknown": {"Fn::Equals": [OPEN, "x"]}, "Known": {"Fn::Not": [{"Fn::Equals": ["a", "b"]}]}},
        "Resources": {
            "Jobs": {"Type": "AWS::SQS::Queue", "Properties": queue or {}},
            "Do": {"Type": "AWS::Serverless::Function", "Properties": FUNCTION | {"Events": events} | (function or {})},
            **resources,
        },
    }


def filters(*patterns: Any) -> dict[str, Any]:
    return {"FilterCriteria": {"Filters": [{"Pattern": pattern} for pattern in patterns]}}


def redrive(receives: Any) -> dict[str, Any]:
    return {"RedrivePolicy": {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": receives}}

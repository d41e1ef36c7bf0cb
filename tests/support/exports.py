"""DynamoDB exports, as DynamoDB writes them to S3: manifests, and files in DynamoDB JSON."""

import base64
import gzip
import hashlib
import json
from typing import Any

ROOT = "AWSDynamoDB/0123-abcd"
SUMMARY = f"{ROOT}/manifest-summary.json"


def export(files: list[list[dict[str, Any]]], **summary: Any) -> dict[str, bytes]:
    """Return the objects of an export of some files, each with the documents of its lines."""
    datas = {
        f"{ROOT}/data/{number}.json.gz": gzip.compress(
            b"".join(json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in documents)
        )
        for number, documents in enumerate(files)
    }
    entries = [
        {
            "itemCount": len(documents),
            "md5Checksum": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "etag": "0-1",
            "dataFileS3Key": key,
        }
        for documents, (key, data) in zip(files, datas.items(), strict=True)
    ]
    document = {
        "version": "2020-06-30",
        "s3Bucket": "exports",
        "manifestFilesS3Key": f"{ROOT}/manifest-files.json",
        "itemCount": sum(map(len, files)),
        "outputFormat": "DYNAMODB_JSON",
        **summary,
    }
    lines = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    return {SUMMARY: json.dumps(document).encode(), f"{ROOT}/manifest-files.json": lines, **datas}

"""Puts the console's files into their bucket, with `/config.json`, which has the addresses of API
and sign-in.
"""

import hashlib
import io
import json
import mimetypes
import os
import zipfile
from collections.abc import Mapping
from typing import Any

from dth.compose.aws.functions.custom import answer
from dth.core.errors import StateError
from dth.platforms.aws.client import Aws

HASHED = "assets/"  # the build names these by their content
FOR_EVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"
AT_ONCE = 1000  # objects per delete call


def resource(event: dict[str, Any], context: Any) -> None:
    """A custom resource.

    Properties: `Bucket`; `AssetBucket` and `Archive`, the key of a zip there; `Digest`, its
    SHA-256; and `Config`, the text of config.json. Deleting the resource empties the bucket.
    """
    answer(event, context, lambda: _bring(event["RequestType"], event["ResourceProperties"]))


def _bring(kind: str, given: Mapping[str, str]) -> None:
    aws = Aws(os.environ["AWS_REGION"])
    try:
        before = _keys(aws, given["Bucket"])
        files = {} if kind == "Delete" else _files(aws, given)
        for name, body in files.items():
            _put(aws, given["Bucket"], name, body)
        # Old files stay until the new ones are complete, so open pages and new pages find their
        # files.
        _remove(aws, given["Bucket"], sorted(before - files.keys()))
    finally:
        aws.close()


def _files(aws: Aws, given: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files by name. The page that links to the others is last."""
    told = aws.call_now("s3", "get_object", Bucket=given["AssetBucket"], Key=given["Archive"])
    packed = told["Body"].read()
    if given.get("Digest") and hashlib.sha256(packed).hexdigest() != given["Digest"]:
        raise StateError(
            f"s3://{given['AssetBucket']}/{given['Archive']} is not the console that was published"
        )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    page = {name: found.pop(name) for name in ("index.html",) if name in found}
    config = json.dumps(json.loads(given["Config"]), indent=1).encode()
    return {**found, "config.json": config, **page}


def _put(aws: Aws, bucket: str, name: str, body: bytes) -> None:
    aws.call_now(
        "s3",
        "put_object",
        Bucket=bucket,
        Key=name,
        Body=body,
        ContentType=mimetypes.guess_type(name)[0] or "application/octet-stream",
        CacheControl=FOR_EVER if name.startswith(HASHED) else ASK_AGAIN,
    )


def _keys(aws: Aws, bucket: str) -> set[str]:
    found: set[str] = set()
    arguments = {"Bucket": bucket}
    while True:
        told = aws.call_now("s3", "list_objects_v2", **arguments)
        found |= {each["Key"] for each in told.get("Contents", [])}
        if not told.get("IsTruncated"):
            return found
        arguments["ContinuationToken"] = told["NextContinuationToken"]


def _remove(aws: Aws, bucket: str, names: list[str]) -> None:
    for first in range(0, len(names), AT_ONCE):
        objects = [{"Key": name} for name in names[first : first + AT_ONCE]]
        aws.call_now(
            "s3", "delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True}
        )

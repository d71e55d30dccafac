"""Reads the S3 remotes of an rclone.conf, in the form of this user's stores."""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dth.core.errors import UsageError

# rclone's names of providers for which there is a profile. The others need only their endpoint.
KINDS = {
    "AWS": "Amazon_S3",
    "Alibaba": "Aliyun_OSS",
    "Qiniu": "Qiniu_Kodo",
    "TencentCOS": "Tencent_COS",
    "HuaweiOBS": "Huawei_OBS",
    "GCS": "Google_GCS",
    "Cloudflare": "Cloudflare_R2",
    "Wasabi": "Wasabi",
    "OVHcloud": "OVH",
    "Scaleway": "Scaleway",
    "DigitalOcean": "DigitalOcean",
    "IBMCOS": "IBM_COS",
    "Minio": "MinIO",
    "Ceph": "Ceph",
    "SeaweedFS": "SeaweedFS",
}
# What dth takes with each command, and the option that takes it.
OPTIONS = {
    "acl": "--acl",
    "storage_class": "--storage-class",
    "server_side_encryption": "--sse",
    "sse_kms_key_id": "--sse-kms-key-id",
    "sse_customer_key": "--dst-sse-c-key-file",
    "sse_customer_key_base64": "--dst-sse-c-key-file",
    "requester_pays": "--requester-pays",
}
SAME = {
    "region": "region",
    "role_arn": "role_arn",
    "role_external_id": "external_id",
    "profile": "profile",
}
TAKEN = {"type", "provider", "env_auth", "endpoint", "force_path_style", *SAME}
KEYS = ("access_key_id", "secret_access_key", "session_token")
ENCRYPTED = "RCLONE_ENCRYPT_V0:"


@dataclass(slots=True)
class Remotes:
    """`stores`: the fields of each store that was read. `said`: a line about everything that could
    not be taken."""

    stores: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def rclone_file() -> Path:
    """Where rclone looks for its configuration."""
    if named := os.environ.get("RCLONE_CONFIG"):
        return Path(named)
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (settings / "rclone" / "rclone.conf", Path.home() / ".rclone.conf")
    return next((each for each in places if each.exists()), places[0])


def read_remotes(path: Path) -> Remotes:
    """Raises UsageError if the file cannot be read."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a configuration of rclone: it is not text") from None
    if ENCRYPTED in text[:1000]:
        raise UsageError(
            f"{path} is encrypted; write it in the clear to a private file first: rclone "
            "config show"
        )
    parser = configparser.RawConfigParser(
        strict=False, delimiters=("=",), comment_prefixes=("#", ";")
    )
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise UsageError(
            f"{path} is not a configuration of rclone: {' '.join(str(error).split())}"
        ) from None
    found = Remotes()
    for name in parser.sections():
        remote = {option: value.strip() for option, value in parser.items(name) if value.strip()}
        if remote.get("type") == "s3":
            found.stores[name] = _store(name, remote, found.said)
        else:
            found.said.append(
                f"{name}: a remote of type {remote.get('type', 'unknown')} is not an S3 store"
            )
    return found


def _store(name: str, remote: Mapping[str, str], said: list[str]) -> dict[str, Any]:
    provider = remote.get("provider", "Other")
    values: dict[str, Any] = {"kind": KINDS[provider]} if provider in KINDS else {}
    if endpoint := remote.get("endpoint", ""):
        values["endpoint"] = endpoint if "://" in endpoint else f"https://{endpoint}"
    values |= {field: remote[option] for option, field in SAME.items() if option in remote}
    if style := remote.get("force_path_style", "").lower():
        values["addressing_style"] = "virtual" if style in ("false", "0") else "path"
    if remote.get("env_auth", "").lower() in ("true", "1"):
        if any(key in remote for key in KEYS):
            said.append(
                f"{name}: the keys are not taken, because env_auth lets the environment decide"
            )
    elif all(key in remote for key in KEYS[:2]):
        values |= {key: remote[key] for key in KEYS if key in remote}
        if values.pop("profile", ""):
            said.append(f"{name}: the profile is not taken, because there are keys")
    elif "profile" not in values and "role_arn" not in values:
        # Without keys, rclone does not sign.
        values["anonymous"] = True
    for option, value in remote.items():
        if option in OPTIONS:
            shown = "" if option.startswith("sse_customer_key") else f" ({value})"
            said.append(
                f"{name}: {option}{shown} is not a property of a store; give {OPTIONS[option]} "
                "with a command"
            )
    rest = [
        each
        for each in remote
        if each not in {*TAKEN, *OPTIONS, *KEYS} and not each.startswith("sse_customer")
    ]
    if rest:
        said.append(f"{name}: not taken: {', '.join(rest)}")
    return values

"""SRC and DST on the command line, as parameters of a task.

A registry is named by its host. An Amazon ECR host contains account and region; `ecr:REGION` is the
registry of the account whose credentials are used.
"""

import re
from typing import Any

from dth.core.errors import UsageError
from dth.images.parameters import DestType, SourceList, SourceType
from dth.images.registry.reference import (
    DOCKER_HUB,
    OFFICIAL,
    Reference,
    check_registry,
    check_repository,
    parse,
    parse_within,
)
from dth.images.selection import ALL_TAGS

Values = dict[str, Any]

# Least port of a registry named by one word and a port.
LEAST_PORT = 1024

_REGION = r"(?P<region>[a-z]{2,4}(-[a-z]+)+-\d)"
_ECR_HOST = re.compile(rf"(?P<account>\d{{12}})\.dkr[.-]ecr(-fips)?\.{_REGION}\.[a-z0-9.-]+")
_OWN_ECR = re.compile(rf"ecr:{_REGION}(/(?P<rest>.*))?")


def several(src: str, dst: str) -> Values:
    """Return the parameters for a copy of several images. Raises UsageError.

    SRC: a registry, a repository with all its tags, a pattern of repositories, or one image. DST: a
    registry and a prefix for the names there.
    """
    values, path = _source(src)
    dest, prefix = _dest(dst)
    if prefix:
        dest["dest_prefix"] = check_repository(prefix)
    if not path:
        values["src_list"] = SourceList.ALL
    elif "*" in path or "?" in path or "[" in path:
        values |= {"src_list": SourceList.ALL, "include_repositories": (path,)}
    else:
        reference = _image(src, path)
        pointer = f":{ALL_TAGS}" if not (reference.tag or reference.digest) else ""
        values |= {"src_list": SourceList.SELECTED, "src_image_list": f"{path}{pointer}"}
    return values | dest


def one(src: str, dst: str) -> Values:
    """Return the parameters for a copy of the image SRC. Raises UsageError.

    DST: a registry, where the image keeps its name, or its new name.
    """
    values, path = _source(src)
    if not path or "*" in path:
        raise UsageError(f"SRC {src!r} names no image; write REGISTRY/REPOSITORY:TAG")
    before = _image(src, path).tagged()
    values |= {"src_list": SourceList.SELECTED, "src_image_list": _within(before)}
    dest, wanted = _dest(dst)
    if not wanted:
        return values | dest
    after = parse_within("names", wanted)
    if after.digest:
        raise UsageError(f"DST {dst!r}: a digest follows from the image; give a tag, or nothing")
    on_hub = values.get("src_registry") == DOCKER_HUB
    known = before.repository.removeprefix(OFFICIAL) if on_hub else before.repository
    # What is attached to the image goes to the same repository.
    rules = [f"{known}={after.repository}"]
    tag = after.tag or before.tag
    if tag and tag != before.tag:
        pointer = f"@{before.digest}" if before.digest else f":{before.tag}"
        rules.insert(0, f"{known}{pointer}={after.repository}:{tag}")
    return values | dest | {"rename_rules": tuple(rules)}


def _source(text: str) -> tuple[Values, str]:
    """Return the registry's parameters, and the name within it."""
    ecr, rest = _ecr(text, "src")
    if ecr:
        return {"source_type": SourceType.AMAZON_ECR, **ecr}, rest
    host, rest = _split(text, "SRC")
    return {"source_type": SourceType.REGISTRY, "src_registry": host}, rest


def _dest(text: str) -> tuple[Values, str]:
    ecr, rest = _ecr(text, "dest")
    if ecr:
        return {"dest_type": DestType.AMAZON_ECR, **ecr}, rest
    host, rest = _split(text, "DST")
    return {"dest_type": DestType.REGISTRY, "dest_registry": host}, rest


def _ecr(text: str, start: str) -> tuple[Values, str]:
    """Return account and region if the registry is Amazon ECR's."""
    own = _OWN_ECR.fullmatch(text)
    if own:
        return {f"{start}_region": own["region"]}, (own["rest"] or "").strip("/")
    if text.startswith("ecr:"):
        raise UsageError(f"{text!r} names no region; write ecr:REGION, such as ecr:eu-west-1")
    host, _, rest = text.partition("/")
    found = _ECR_HOST.fullmatch(host)
    if not found:
        return {}, ""
    return {
        f"{start}_account_id": found["account"],
        f"{start}_region": found["region"],
    }, rest.strip("/")


def _split(text: str, which: str) -> tuple[str, str]:
    """Return host and path. A name without a host belongs to Docker Hub."""
    if not text:
        raise UsageError(f"{which} is empty; it is not the name of a registry")
    if "://" in text:
        raise UsageError(
            f"{which} {text!r}: write it without {text.partition('://')[0]}://, such as "
            "quay.io/team/app"
        )
    first, slash, rest = text.partition("/")
    if _is_host(first, bool(slash), which):
        host, path = check_registry(first), rest.strip("/")
    else:
        host, path = DOCKER_HUB, text
    host = DOCKER_HUB if host == "index.docker.io" else host
    if host == DOCKER_HUB and which == "SRC" and path and "*" not in path:
        path = _within(parse(f"{DOCKER_HUB}/{path}"))
    return host, path


def _is_host(first: str, followed: bool, which: str) -> bool:
    """Whether the first part of a name is a registry; otherwise the name belongs to Docker Hub."""
    if followed:
        return bool(re.search(r"[.:]", first)) or first == "localhost"
    if re.fullmatch(r"localhost(:[0-9]+)?|\[.*|[^:@]*\.[^@]*(:[0-9]+)?", first):
        return True
    port = re.fullmatch(r"[^:@]+:([0-9]{1,5})", first)
    # `alpine:3` is an image, and `registry:5000` is a registry. A destination has no tag without a
    # repository.
    return port is not None and (which == "DST" or int(port[1]) >= LEAST_PORT)


def _image(text: str, path: str) -> Reference:
    try:
        return parse_within("registry", path)
    except UsageError as error:
        raise UsageError(f"SRC {text!r}: {error}") from None


def _within(reference: Reference) -> str:
    """Return the name within its registry."""
    return str(reference).removeprefix(f"{reference.registry}/")

"""Names of images: `host:port/a/b:tag@sha256:...`.

The grammar is that of the OCI and Docker registries (github.com/distribution/reference). Names as
people write them omit parts: the registry (Docker Hub), the `library/` of its official images, the
tag (`latest`). `parse` fills in the first two. A missing tag stays empty, because a name with a
digest needs none.

Within one known registry, a name is only a path: `parse_within` never reads a registry from it, so
`team.one/app` is a repository.
"""

import ipaddress
import re
from dataclasses import dataclass, replace

from dth.core.errors import UsageError

DOCKER_HUB = "docker.io"
OFFICIAL = "library/"  # Docker Hub's path for names without one.
LATEST = "latest"
MAX_REPOSITORY = 255  # characters
MAX_REGISTRY = 255
MAX_PORT = 65535

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?P<ipv6>[a-fA-F0-9:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGESTS = {"sha256": 64, "sha384": 96, "sha512": 128}  # algorithm: hexadecimal digits


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One image, or a repository if it has neither tag nor digest."""

    registry: str  # host, or host:port
    repository: str
    tag: str = ""
    digest: str = ""  # algorithm:hex

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

    @property
    def name(self) -> str:
        """The repository with its registry."""
        return f"{self.registry}/{self.repository}"

    @property
    def pointer(self) -> str:
        """What to request from the registry: the digest if there is one, else the tag."""
        return self.digest or self.tag or LATEST

    def tagged(self) -> "Reference":
        """Return the reference with the default tag if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=LATEST)


def parse(text: str) -> Reference:
    """Parse a name as people write it. Raises UsageError with a one-line reason."""
    first, slash, rest = text.partition("/")
    # A registry has a dot, a port, or a capital letter, or is localhost; any other word begins a
    # path.
    if slash and (re.search(r"[.:]", first) or first == "localhost" or first != first.lower()):
        registry, path = first, rest
    else:
        registry, path = DOCKER_HUB, text
    if registry == "index.docker.io":
        registry = DOCKER_HUB
    if not is_registry(registry):
        raise UsageError(f"{text!r} names no image: {registry!r} is not the name of a registry")
    return _parse_path(text, registry, path)


def parse_within(registry: str, text: str) -> Reference:
    """Parse the name of an image in this registry: `repository:tag`, or with the registry in
    front."""
    return _parse_path(text, registry, text.removeprefix(f"{registry}/"))


def check_registry(text: str) -> str:
    """Return the host of a registry, `host` or `host:port`, unchanged. Raises UsageError if
    invalid.
    """
    if not is_registry(text):
        raise UsageError(f"{text!r} is not the name of a registry; write host or host:port")
    return text


def is_registry(text: str) -> bool:
    """Whether this is a valid registry host, `host` or `host:port`; an IPv6 address is in
    brackets."""
    found = re.fullmatch(_REGISTRY, text) if len(text) <= MAX_REGISTRY else None
    if not found or int(found["port"] or 0) > MAX_PORT:
        return False
    try:
        return not found["ipv6"] or bool(ipaddress.IPv6Address(found["ipv6"]))
    except ValueError:
        return False


def check_repository(text: str) -> str:
    """Return the name of a repository within its registry, unchanged. Raises UsageError if
    invalid."""
    if problem := _repository_problem(text):
        raise UsageError(f"{text!r} names no repository: {problem}")
    return text


def is_repository(text: str) -> bool:
    return not _repository_problem(text)


def is_tag(text: str) -> bool:
    return re.fullmatch(_TAG, text) is not None


def is_digest(text: str) -> bool:
    return not _digest_problem(text)


def _parse_path(text: str, registry: str, path: str) -> Reference:
    rest, at, digest = path.partition("@")
    repository, colon, tag = rest.partition(":")
    if problem := _problem(repository, tag if colon else None, digest if at else None):
        raise UsageError(f"{text!r} names no image: {problem}")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = OFFICIAL + repository
    return Reference(registry, repository, tag, digest)


def _problem(repository: str, tag: str | None, digest: str | None) -> str:
    """Return what is wrong with the parts of a name (None: not given); "" if nothing is."""
    if problem := _repository_problem(repository):
        return problem
    if re.fullmatch(r"[a-f0-9]{64}", repository):
        return "it is an image's id, which says nothing about where the image is"
    if tag is not None and not is_tag(tag):
        return (
            f"{tag!r} is not a tag (letters, digits, and after the first also . and -; at most 128)"
            if tag
            else "there is no tag after the colon"
        )
    return "" if digest is None else _digest_problem(digest)


def _repository_problem(repository: str) -> str:
    if not repository:
        return "the repository is missing"
    if len(repository) > MAX_REPOSITORY:
        return f"the repository is longer than {MAX_REPOSITORY} characters"
    if re.fullmatch(_REPOSITORY, repository):
        return ""
    if re.fullmatch(_REPOSITORY, repository.lower()):
        return f"the repository {repository!r} has capital letters"
    return (
        f"{repository!r} is not the name of a repository (a-z, 0-9, with . _ __ - or / between "
        "them)"
    )


def _digest_problem(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm not in _DIGESTS:
        return f"{digest!r} is not a digest such as sha256:..."
    if not re.fullmatch(rf"[a-f0-9]{{{_DIGESTS[algorithm]}}}", value):
        return (
            f"a digest by {algorithm} has {_DIGESTS[algorithm]} digits of 0-9 and a-f, not "
            f"{value!r}"
        )
    return ""

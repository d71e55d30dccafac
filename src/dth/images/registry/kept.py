"""Credentials of earlier sign-ins on this machine: `skopeo login`, `podman login`, `docker login`,
helpers.

The files, their order, and their keys follow containers-auth.json(5), as skopeo reads them. A
credential helper is a program that the file names. It reads the registry's host from standard input
and answers on standard output.
"""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dth.core import confinement
from dth.core.errors import EndpointRefused
from dth.images.registry.login import UserPassword
from dth.images.registry.reference import DOCKER_HUB

HUB_URL = "https://index.docker.io/v1/"  # Docker's key for Docker Hub.
HUB_NAMES = (HUB_URL, "index.docker.io", "registry-1.docker.io", DOCKER_HUB)
# The user name with which a helper marks an identity token.
IDENTITY = "<token>"
# The name of the files in the list of helpers in registries.conf.
AUTH_FILES = "containers-auth.json"
LARGEST_FILE = 4 * 1024**2  # bytes
HELPER_TIMEOUT = 30.0  # seconds

Config = Mapping[str, Any]


class KeptLogin:
    """Nobody, if nobody signed in. Credentials found for a repository are cached until refused."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._found: dict[str, UserPassword | None] = {}  # by repository
        self._lock = asyncio.Lock()

    async def get(
        self, refused: UserPassword | None = None, repository: str = ""
    ) -> UserPassword | None:
        async with self._lock:
            known = self._found.get(repository)
            if repository not in self._found or (refused is not None and known == refused):
                self._found[repository] = await asyncio.to_thread(kept_for, self._host, repository)
            return self._found[repository]


def kept_for(host: str, repository: str = "") -> UserPassword | None:
    """Return the stored credentials for a repository, or for the registry as such.

    In a hub, returns None, because its users are not those of the machine. Raises EndpointRefused
    if a helper fails.
    """
    if not confinement.local_files():
        return None
    failed: EndpointRefused | None = None
    for helper in _helpers():
        try:
            if helper == AUTH_FILES:
                found = _in_files(host, repository)
            else:
                found = _ask(helper, HUB_URL if host == DOCKER_HUB else host, must=True)
        except EndpointRefused as error:
            failed = failed or error  # another helper may know
            continue
        if found:
            return found
    if failed:
        raise failed
    return None


def _in_files(host: str, repository: str) -> UserPassword | None:
    for place in _places():
        config = _read(place)
        if (
            found := _helped(config, host)
            or _entered(config, host, repository)
            or _stored(config, host)
        ):
            return found
    return None


def _helpers() -> list[str]:
    """Return the machine's credential helpers (containers-registries.conf(5)); by default, the
    files.
    """
    system, user = Path("/etc/containers"), Path.home() / ".config/containers"
    if named := os.environ.get("CONTAINERS_REGISTRIES_CONF"):
        files = [Path(named)]
    else:
        own = user / "registries.conf"
        files = [own if own.exists() else system / "registries.conf"]
        files += [
            each
            for folder in (system, user)
            for each in sorted(folder.glob("registries.conf.d/*.conf"))
        ]
    helpers = [AUTH_FILES]
    for file in files:
        try:
            said = tomllib.loads(file.read_text("utf-8")).get("credential-helpers")
        except (OSError, ValueError):
            continue
        if isinstance(said, list) and said:
            helpers = [str(each) for each in said]
    return helpers


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    legacy: bool = False  # the file contains only the entries


def _places() -> Iterator[_Place]:
    """Yield the files in the order of their use. A file that the environment names is the only
    one."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield _Place(Path(named))
        return
    home = Path.home()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield _Place(Path(runtime) / "containers/auth.json")
    elif sys.platform == "linux":
        yield _Place(Path(f"/run/containers/{os.getuid()}/auth.json"))
    yield _Place(
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json"
    )
    yield _Place(Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json")
    yield _Place(home / ".dockercfg", legacy=True)


def _read(place: _Place) -> Config:
    """Return the entries of a file; none if the file is missing or invalid."""
    try:
        with place.path.open("rb") as file:
            found = json.loads(file.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {"auths": found} if place.legacy else found


# -------------------------------------------------------------------------------- entries of a file


def _entered(config: Config, host: str, repository: str) -> UserPassword | None:
    """Return the credentials of the entry with the longest matching key."""
    auths = _section(config, "auths")
    for key in _keys(auths, host, repository):
        if found := _decoded(auths[key]):
            return found
    return None


def _keys(auths: Config, host: str, repository: str) -> Iterator[str]:
    """Yield the matching keys: the repository, its parent paths, the registry, and its old
    spellings.
    """
    parts = f"{host}/{repository}".split("/") if repository else [host]
    for length in range(len(parts), 0, -1):
        key = "/".join(parts[:length])
        if key in auths:
            yield key
    yield from (key for key in auths if _host_of(key) == _host_of(host) and key != host)
    if not repository:
        # To test access to the registry as such, use the credentials of a part of it.
        yield from sorted(key for key in auths if key.startswith(f"{host}/"))


def _host_of(key: str) -> str:
    """Return the registry of a key.

    A key with a path but without a scheme is for a part of a registry, and stays as it is.
    """
    bare = re.sub(r"^https?://", "", key)
    if bare != key:
        bare = bare.partition("/")[0]
    return DOCKER_HUB if bare in HUB_NAMES else bare


def _decoded(entry: Any) -> UserPassword | None:
    """None for an entry without credentials, which Docker writes if a helper has them."""
    if not isinstance(entry, dict):
        return None
    user, password = _text(entry, "username"), _text(entry, "password")
    if kept := _text(entry, "auth"):
        try:
            padded = kept + "=" * (-len(kept) % 4)
            user, _, password = base64.b64decode(padded).decode().partition(":")
        except ValueError:
            return None
    identity, registry = _text(entry, "identitytoken"), _text(entry, "registrytoken")
    password = password.strip("\0")
    if not (identity or registry or (user and password)):
        return None
    return UserPassword(user, password, identity, registry)


def _section(config: Config, name: str) -> Config:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _text(fields: Config, name: str) -> str:
    found = fields.get(name)
    return found if isinstance(found, str) else ""


# ------------------------------------------------------------------------------------------ helpers


def _helped(config: Config, host: str) -> UserPassword | None:
    """Return the credentials from the helper for this registry."""
    helpers = _section(config, "credHelpers")
    for name in HUB_NAMES if host == DOCKER_HUB else (host,):
        if helper := _text(helpers, name):
            return _ask(helper, name, must=True)
    return None


def _stored(config: Config, host: str) -> UserPassword | None:
    """Return the credentials from Docker's store for all registries. A store that is not installed
    has none.
    """
    helper = _text(config, "credsStore")
    return _ask(helper, HUB_URL if host == DOCKER_HUB else host, must=False) if helper else None


def _ask(helper: str, server: str, *, must: bool) -> UserPassword | None:
    program = f"docker-credential-{helper}"
    if not re.fullmatch(r"[\w.-]{1,100}", helper):
        raise _failed(f"{helper!r} is not the name of a credential helper")
    try:
        ended = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=HELPER_TIMEOUT,
            check=False,
        )
    except OSError as error:
        if not must:
            return None
        raise _failed(
            f"{program}, which is to know the credentials for {server}: {error.strerror}"
        ) from None
    except subprocess.TimeoutExpired:
        raise _failed(f"{program} says nothing for {HELPER_TIMEOUT:g} s") from None
    if ended.returncode:
        # Other output of a helper may contain anything, so it is not shown.
        if not must or b"not found" in ended.stdout:
            return None
        raise _failed(f"{program} has no credentials for {server} (status {ended.returncode})")
    try:
        found = json.loads(ended.stdout)
        user, secret = found["Username"], found["Secret"]
        if not isinstance(user, str) or not isinstance(secret, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _failed(f"{program} does not answer as a credential helper does") from None
    if user == IDENTITY:
        return UserPassword("", "", secret)
    return UserPassword(user, secret) if user and secret else None


def _failed(line: str) -> EndpointRefused:
    return EndpointRefused(line, code="NoCredentials")

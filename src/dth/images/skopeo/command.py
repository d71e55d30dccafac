"""Copies one image with skopeo in a separate process.

skopeo copies what a registry accepts only converted, and what the machine's policy checks. It gets
credentials in two files that exist only in memory (on systems without these, in temporary files
that nobody else can read), never in its arguments or environment. Its error messages decide what
happens next.
"""

import asyncio
import base64
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dth.core import confinement
from dth.core.confinement import foreign
from dth.core.errors import EndpointRefused, NotSupported, TransferError, Transient, UsageError
from dth.core.network import Network, is_loopback, real_address
from dth.core.secret_bindings import PORTS
from dth.core.transport import ADDRESS_REFUSED
from dth.images.registry.address import RegistryAddress
from dth.images.registry.login import UserPassword
from dth.images.registry.reference import DOCKER_HUB, Reference
from dth.images.skopeo import landlock
from dth.images.skopeo.error_texts import meaning
from dth.images.skopeo.gateway import Gateway, open_gateway

# The first with --preserve-digests and --multi-arch.
OLDEST = (1, 6)
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LOOK = 0.5  # seconds between progress checks
OUTPUT_LIMIT = 1024**2  # most bytes read of its output
INSTALL = (
    "install it (Debian, Ubuntu, Fedora, Alpine: the package skopeo; macOS: brew install skopeo)"
)
POLICIES = ("/etc/containers/policy.json", "/usr/share/containers/policy.json")
OF_THIS_MACHINE = ("127.0.0.1", "::1")
PR_SET_PDEATHSIG = 1
# Loaded here, because between fork and exec nothing may be imported and little allocated.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|TMPDIR|LANG|LC_\w+|TZ|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)|XDG_\w+|CONTAINERS_\w+|GODEBUG",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CopyEnd:
    """One end of a copy."""

    reference: Reference
    address: RegistryAddress
    login: UserPassword | None = None


@dataclass(frozen=True, slots=True)
class SkopeoCopy:
    """A finished copy.

    `digest` is the destination's. `read`: the bytes that skopeo read, close to those that moved; 0
    if the system does not report it.
    """

    digest: str
    # Whether the digest is guaranteed to be the source's.
    preserved: bool
    read: int
    seconds: float


class Unusable(NotSupported):
    """An image requires skopeo, and skopeo is not installed or cannot copy it."""

    CODE = "NoSkopeo"

    def __init__(self, message: str) -> None:
        super().__init__(message, code=self.CODE)


def obstacle(*hosts: str) -> str:
    """Return in one line why skopeo cannot copy between these registries.

    "" if it can, provided it is installed.
    """
    for host in hosts:
        if host.startswith("["):
            return (
                f"skopeo takes no registry at an IPv6 address such as {host}; name it by a host "
                "name"
            )
    network = confinement.network()
    if network and _is_kept_from_here(network) and not landlock.is_here():
        return (
            f"the {network.whose}'s settings allow no connections to its own machine, and this system "
            "cannot keep skopeo from them (Linux 6.7 can)"
        )
    return ""


def lacking(command: str = "skopeo") -> str:
    """Return in one line why skopeo is missing; "" if it is installed."""
    return "" if shutil.which(command) else f"{command} is not here; {INSTALL}"


def _is_kept_from_here(network: Network) -> bool:
    return any(network.refusal(address) for address in OF_THIS_MACHINE)


async def version(command: str = "skopeo") -> tuple[int, ...]:
    """Return the version of the installed skopeo.

    Raises UsageError, with one line, if skopeo is missing or too old.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            "--version",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
    except OSError:
        raise UsageError(
            f"{command} is not here: it converts images that the destination does not take as "
            f"they are, and checks signatures; {INSTALL}"
        ) from None
    said = (await process.communicate())[0].decode("utf-8", "replace")
    match = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", said)
    if process.returncode or not match:
        raise UsageError(f"{command} does not tell its version: {INSTALL}")
    found = tuple(int(part) for part in match.groups() if part is not None)
    if found < OLDEST:
        raise UsageError(
            f"{command} is of version {'.'.join(map(str, found))}; "
            f"{'.'.join(map(str, OLDEST))} or newer is needed"
        )
    return found


async def copy(
    source: CopyEnd,
    dest: CopyEnd,
    *,
    command: str = "skopeo",
    timeout: float = 3600.0,
    progress: Callable[[int], None] | None = None,
) -> SkopeoCopy:
    """Copy the image with all its platforms.

    Preserves the digest if the destination accepts the image unchanged; otherwise converts the
    image. Calls `progress` with the number of bytes that skopeo has read. If the call is cancelled,
    skopeo and everything it started end first. Raises TransferError.
    """
    if why := obstacle(source.address.host, dest.address.host):
        raise Unusable(why)
    for side in (source, dest):
        await _check_host(side.address)
    begun = time.monotonic()
    read = 0
    for preserve in (True, False):
        try:
            told = _after(read, progress) if progress else None
            outcome = await _run(source, dest, preserve, command, begun + timeout, told)
        except TimeoutError:
            raise Transient(
                f"{source.reference} -> {dest.reference}: not copied within {timeout:g} s",
                code="TimeLimit",
            ) from None
        read += outcome.read
        if outcome.status == 0:
            seconds = time.monotonic() - begun
            return SkopeoCopy(outcome.digest, preserve, read, seconds)
        if not preserve or "preserve digests" not in outcome.said:
            error = explain(outcome.said, source, dest, outcome.status)
            if outcome.refused:
                line = (
                    f"{source.reference} -> {dest.reference}: a registry leads to where the hub "
                    "may not connect"
                )
                raise EndpointRefused(line, code=ADDRESS_REFUSED, host=error.host)
            raise error
    raise AssertionError("unreachable: the second time ends it")


async def _check_host(address: RegistryAddress) -> None:
    """Raise EndpointRefused if this process may not connect to the registry.

    Otherwise skopeo would fail with a less clear message.
    """
    network = confinement.network()
    place = urlsplit(address.url)
    if not network or not place.hostname:
        return
    found: list[Any] = []
    # If the name does not resolve here, skopeo reports it, or a proxy knows the name.
    with contextlib.suppress(OSError, UnicodeError):
        found = await asyncio.get_running_loop().getaddrinfo(place.hostname, place.port or 443)
    for *_, (host, *_) in found:
        if why := network.refusal(str(host)):
            raise EndpointRefused(f"{address.host}: {host} {why}", code=ADDRESS_REFUSED)


def push(layout: Path, dest: CopyEnd, *, command: str = "skopeo") -> None:
    """Copy the image of an OCI layout, a folder, into a registry. Raises TransferError."""
    with contextlib.ExitStack() as stack:
        authfile = stack.enter_context(_authfile(dest))
        errors = stack.enter_context(_scratch("stderr"))
        arguments = [
            command,
            *([] if _policy() else ["--insecure-policy"]),
            *("copy", "--preserve-digests", *_options("dest", dest, authfile, stack)),
            *(f"oci:{layout}", _name(dest)),
        ]
        status = _start(
            arguments, errors.fd, [authfile.fd] if authfile and authfile.passed else []
        ).wait()
        if status:
            line = _fatal(errors.text())
            meant = meaning(_without_names(line, dest))
            raise meant.kind(
                f"{dest.reference}: {line}", code=meant.code, said=line, host=dest.address.host
            )


def _after(before: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    """Return a progress function for a second attempt that reports the bytes of both."""
    return lambda read: progress(before + read)


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: int
    said: str  # on stderr
    digest: str
    read: int
    # It tried to connect where this process may not.
    refused: bool


async def _run(
    source: CopyEnd,
    dest: CopyEnd,
    preserve: bool,
    command: str,
    deadline: float,
    progress: Callable[[int], None] | None,
) -> _Outcome:
    async with _way_out(source, dest) as way:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_authfile(side)) for side in (source, dest)]
            digest, errors = (stack.enter_context(_scratch(name)) for name in ("digest", "stderr"))
            arguments = [
                command,
                *([] if _policy() else ["--insecure-policy"]),
                *("copy", "--multi-arch", "all", "--digestfile", digest.path),
                *(["--preserve-digests"] if preserve else []),
                *_options("src", source, files[0], stack),
                *_options("dest", dest, files[1], stack),
                *(_name(source), _name(dest)),
            ]
            passed = [file.fd for file in (*files, digest) if file and file.passed]
            process = _start(arguments, errors.fd, passed, way)
            read = await _wait(process, deadline, progress)
            return _Outcome(
                process.returncode, errors.text(), digest.text().strip(), read, way.proxy.refused
            )


@dataclass(frozen=True, slots=True)
class _Way:
    """How skopeo connects to its registries: by the environment, or only through our own proxy.

    `ports`: a Landlock descriptor, if the kernel enforces the rule.
    """

    proxy: Gateway = field(default_factory=Gateway)
    ports: int | None = None


@contextlib.asynccontextmanager
async def _way_out(source: CopyEnd, dest: CopyEnd) -> AsyncIterator[_Way]:
    """Open a way that leads only to where this process may connect."""
    network = confinement.network()
    if network is None:
        yield _Way()
        return
    async with open_gateway(network) as proxy:
        if not _is_kept_from_here(network):
            yield _Way(proxy)
            return
        # skopeo bypasses a proxy for addresses of its own machine; the addresses of its registries
        # have been checked.
        places = [urlsplit(side.address.url) for side in (source, dest)]
        allowed = [
            place.port or PORTS[place.scheme] for place in places if _is_here(place.hostname or "")
        ]
        with landlock.ports([proxy.port, *allowed]) as ports:
            yield _Way(proxy, ports)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or is_loopback(real_address(host))
    except ValueError:
        return False


def _start(
    arguments: list[str], errors: int, pass_fds: list[int], way: "_Way | None" = None
) -> "subprocess.Popen[bytes]":
    """Start the process in its own process group, to end it with everything it started."""
    try:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(way.proxy.port if way else 0),
            pass_fds=pass_fds,
            process_group=0,
            preexec_fn=partial(_before_it_begins, way.ports if way else None),
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = (
            error.strerror if isinstance(error, OSError) else "it cannot be kept from this machine"
        )
        raise Unusable(
            f"{arguments[0]} cannot be run, which this image has to be copied with: {why}; "
            f"{INSTALL}"
        ) from None


def _before_it_begins(ports: int | None) -> None:
    """Runs in skopeo's process: if the waiting process is killed, the kernel ends skopeo. Linux
    only.
    """
    if _libc:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if ports is not None:
        landlock.restrict(ports)


async def _wait(
    process: "subprocess.Popen[bytes]", deadline: float, progress: Callable[[int], None] | None
) -> int:
    """Wait for the process to end. Return the bytes it has read.

    Ends the process if the time is up (raises TimeoutError) or if this call is cancelled.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    watch = os.pidfd_open(process.pid)
    loop.add_reader(watch, ended.set)
    read = 0
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await ended.wait()
                # An ended process reports its counter until it has been reaped.
                read = max(read, _bytes_read(process.pid))
                if progress:
                    progress(read)
    finally:
        try:
            await _whatever_comes(_end(process, ended))
        finally:
            loop.remove_reader(watch)
            os.close(watch)
    return read


async def _whatever_comes(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work, even if this call is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled


async def _end(process: "subprocess.Popen[bytes]", ended: asyncio.Event) -> None:
    """End the whole group: SIGTERM first, SIGKILL later.

    If the process has already ended, only its leftover children are killed.
    """
    if not ended.is_set():
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await ended.wait()
    # Remaining processes. The group number stays valid until the next line.
    _signal(process.pid, signal.SIGKILL)
    await ended.wait()
    process.wait()


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _bytes_read(pid: int) -> int:
    try:
        match = re.search(
            r"^rchar: (\d+)", Path(f"/proc/{pid}/io").read_text("ascii"), re.MULTILINE
        )
    except OSError:
        return 0
    return int(match[1]) if match else 0


# ------------------------------------------------------------------------------ arguments and files


@dataclass(frozen=True, slots=True)
class _File:
    """A file that skopeo may open by its path."""

    fd: int
    path: str
    # Whether skopeo inherits the descriptor, which the path then requires.
    passed: bool

    def text(self) -> str:
        return os.pread(self.fd, OUTPUT_LIMIT, 0).decode("utf-8", "replace")


@contextlib.contextmanager
def _scratch(name: str, content: bytes = b"") -> Iterator[_File]:
    """Open a file in memory, or a private temporary file on systems without files in memory."""
    if hasattr(os, "memfd_create"):
        try:
            fd = os.memfd_create(f"dth-{name}")
        except OSError:
            fd = -1
        if fd >= 0:
            try:
                _write(fd, content)
                yield _File(fd, f"/proc/self/fd/{fd}", passed=True)
            finally:
                os.close(fd)
            return
    fd, path = tempfile.mkstemp(prefix=f"dth-{name}-")  # 0600
    try:
        _write(fd, content)
        yield _File(fd, path, passed=False)
    finally:
        os.close(fd)
        Path(path).unlink(missing_ok=True)


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


@contextlib.contextmanager
def _authfile(side: CopyEnd) -> Iterator[_File | None]:
    """Write the credentials of one side in skopeo's format; None without credentials."""
    # A token for the registry itself would have to be in the arguments, which all users of the
    # machine can see.
    if side.login is None or not (side.login.password or side.login.identity_token):
        yield None
        return
    secret = base64.b64encode(f"{side.login.user}:{side.login.password}".encode()).decode()
    host = "https://index.docker.io/v1/" if side.address.host == DOCKER_HUB else side.address.host
    entry = {"auth": secret}
    if side.login.identity_token:
        entry["identitytoken"] = side.login.identity_token
    with _scratch("auth", json.dumps({"auths": {host: entry}}).encode()) as file:
        yield file


def _options(
    name: str, side: CopyEnd, authfile: _File | None, stack: contextlib.ExitStack
) -> list[str]:
    found = [f"--{name}-authfile", authfile.path] if authfile else [f"--{name}-no-creds"]
    if side.address.insecure:
        found.append(f"--{name}-tls-verify=false")
    if side.address.ca_bundle:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dth-certificates-"))
        (Path(folder) / "ca.crt").symlink_to(Path(side.address.ca_bundle).resolve())
        found += [f"--{name}-cert-dir", folder]
    return found


def _name(side: CopyEnd) -> str:
    """Return the image's name for skopeo: with tag or digest, never both."""
    reference = side.reference
    pointer = f"@{reference.digest}" if reference.digest else f":{reference.pointer}"
    return f"docker://{reference.name}{pointer}"


def _environment(proxy: int = 0) -> Mapping[str, str]:
    """Return the environment variables that skopeo needs, without those that could hold other
    credentials.

    `proxy`: the port of our own proxy.
    """
    found = {name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name)}
    if not proxy:
        return found
    kept = {name: value for name, value in found.items() if not name.lower().endswith("_proxy")}
    return {**kept, **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://127.0.0.1:{proxy}")}


def _policy() -> Path | None:
    """Return the machine's policy on which images it accepts; without this file skopeo copies
    nothing.
    """
    paths = (Path.home() / ".config/containers/policy.json", *map(Path, POLICIES))
    return next((path for path in paths if path.exists()), None)


def policy_checks(source: Reference) -> bool:
    """Whether the machine's policy (containers-policy.json(5)) may require signatures or refuse
    this image.
    """
    path = _policy()
    if not path:
        return False
    try:
        stat = path.stat()
        return any(
            _is_under(source, scope)
            for scope in _checked_scopes(path, stat.st_mtime_ns, stat.st_size)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # skopeo reports the error in it


@cache
def _checked_scopes(path: Path, *_version: int) -> tuple[str, ...]:
    """Return the scopes that the policy does not accept unconditionally; "" for everything."""
    fields = json.loads(path.read_text("utf-8"))
    scopes = {**(fields.get("transports") or {}).get("docker", {})}
    scopes.setdefault("", fields["default"])
    accepted = {"type": "insecureAcceptAnything"}
    return tuple(
        scope for scope, wants in scopes.items() if accepted not in wants or len(wants) > 1
    )


def _is_under(source: Reference, scope: str) -> bool:
    if scope.startswith("*."):
        return source.registry.endswith(scope[1:])
    return not scope or f"{source.name}/".startswith((f"{scope}/", f"{scope.rpartition(':')[0]}/"))


# ----------------------------------------------------------------------------------------- failures


def explain(said: str, source: CopyEnd, dest: CopyEnd, status: int) -> TransferError:
    """Return the error for skopeo's message."""
    line = _fatal(said)
    where = f"{source.reference} -> {dest.reference}"
    if status < 0:
        return Transient(f"{where}: skopeo was ended by signal {-status}", code="Killed", said=line)
    words = _without_names(line, source, dest)
    meant = meaning(words)
    host = (dest if meant.of_the_dest else source).address.host
    answered = re.search(r"\b[45]\d\d\b", words)
    told = (
        foreign(line)
        or f"skopeo failed at {host}: {answered[0] + ' ' if answered else ''}{meant.code}"
    )
    return meant.kind(f"{where}: {told}", code=meant.code, said=line, host=host)


def _without_names(line: str, *sides: CopyEnd) -> str:
    """Remove the names of images, which may contain any word."""
    for side in sides:
        reference = side.reference
        for name in (reference.name, reference.repository):
            line = re.sub(rf"{re.escape(name)}(:[\w.-]+)?", "", line)
        if reference.tag:
            line = re.sub(rf"manifest {re.escape(reference.tag)}(?= |$)", "manifest", line)
    return line


def _fatal(said: str) -> str:
    """Return the last error in skopeo's log, as one line."""
    found = re.findall(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"', said)
    text = re.sub(r"\\(.)", r"\1", found[-1]) if found else said.strip()[-500:]
    return " ".join(text.split())[:1000] or "skopeo failed without a word"

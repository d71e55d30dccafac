"""Copies by the real skopeo between real registries: by the machine's, and by the newest that
Debian has."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    NotSupported,
    ObjectRefused,
    SourceGone,
    Throttled,
    Transient,
    UsageError,
)
from dth.images.registry.client import RegistryAddress
from dth.images.registry.login import UserPassword
from dth.images.registry.reference import Reference
from dth.images.skopeo import command as skopeo
from dth.images.skopeo.command import CopyEnd, SkopeoCopy
from tests.servers.proxy import Reply, Stall
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    Built,
    PlainProxy,
    RegistryServer,
    TokenServer,
    artifact,
    digest_of,
    fallback,
    image,
    index,
    layer,
    signature,
)
from tests.servers.skopeo import newer_skopeo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = NEEDED

LOGIN = UserPassword(USER, PASSWORD)
# As skopeo 1.9 says it, and as later ones do.
NOT_LET_IN = r"unauthorized|authentication required"
BASE, OTHER = layer("base", 1_500_000), layer("other", 400_000)
AMD, ARM = image("a", [BASE, OTHER]), image("a", [BASE], architecture="arm64")
BOTH = index(AMD, ARM)


@pytest.fixture(scope="module", params=["here", "newest"], autouse=True)
def _which_skopeo(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "newest":
            place = newer_skopeo()
            if place is None:
                pytest.skip("no newer skopeo can be had: no apt-get, or Debian cannot be reached")
            patch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        yield


@pytest.fixture(scope="module")
def here() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        server.push("team/app", "v1", BOTH)
        yield server


def side(
    server: Any,
    repository: str,
    tag: str = "",
    digest: str = "",
    login: UserPassword | None = LOGIN,
) -> CopyEnd:
    host = server.url.partition("//")[2]
    ca = str(server.ca) if getattr(server, "ca", None) else ""
    return CopyEnd(
        Reference(host, repository, tag, digest), RegistryAddress(host, ca_bundle=ca), login
    )


async def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_an_image_with_several_platforms_whole(
    here: RegistryServer, there: RegistryServer
) -> None:
    heard: list[int] = []
    done = await skopeo.copy(
        side(here, "team/app", "v1"), side(there, "x/y", "v1"), progress=heard.append
    )
    assert there.digest("x/y", "v1") == BOTH.digest
    assert (done.digest, done.preserved) == (BOTH.digest, True)
    for child in BOTH.children:
        assert there.digest("x/y", child.digest) == child.digest
        assert all(there.has_blob("x/y", digest_of(blob)) for blob in child.blobs)
    moved = len(BASE) + len(OTHER)
    assert moved < done.read < moved * 1.5
    assert heard[-1] == done.read
    again = await skopeo.copy(side(here, "team/app", "v1"), side(there, "x/y", "v1"))
    assert again.read < moved / 2


KINDS: dict[str, Built] = {
    "docker": index(image("d", [OTHER], docker=True), docker=True),
    "single": image("s", [OTHER]),
    "docker-single": image("s", [OTHER], docker=True),
    "signature": signature(BOTH)[1],
    "artifact": artifact("application/spdx+json", b"{}", subject=BOTH),
    "chart": artifact("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_keeps_its_digest(
    here: RegistryServer, there: RegistryServer, kind: str
) -> None:
    built = KINDS[kind]
    here.push("kinds/x", kind, built)
    by_tag = await skopeo.copy(side(here, "kinds/x", kind), side(there, "by/tag", kind))
    by_digest = await skopeo.copy(
        side(here, "kinds/x", digest=built.digest), side(there, "by/digest", digest=built.digest)
    )
    assert by_tag.digest == by_digest.digest == built.digest
    assert by_tag.preserved
    assert there.digest("by/tag", kind) == there.digest("by/digest", built.digest) == built.digest


async def test_a_tag_and_a_digest_are_both_given(
    here: RegistryServer, there: RegistryServer
) -> None:
    source = side(here, "team/app", "v1", BOTH.digest)  # the digest says which
    await skopeo.copy(source, side(there, "x", "v9"))
    assert there.digest("x", "v9") == BOTH.digest


async def test_what_cannot_keep_its_digest_is_converted_and_told(
    here: RegistryServer, there: RegistryServer
) -> None:
    sbom = KINDS["artifact"]
    here.push("team/app", "", sbom)
    tag, listed = fallback(BOTH, ("application/spdx+json", sbom))
    here.push("team/app", tag, listed)
    done = await skopeo.copy(side(here, "team/app", tag), side(there, "x", tag))
    stored = there.digest("x", tag)
    assert stored == done.digest
    assert done.preserved == (stored == listed.digest)  # newer ones of skopeo keep it
    assert there.digest("x", sbom.digest) == sbom.digest


async def test_shared_layers_cross_once(here: RegistryServer, there: RegistryServer) -> None:
    one, two = layer("crossing-1", 700_000), layer("crossing-2", 50_000)
    here.push("crossing/a", "v1", image("a", [one]))
    here.push("crossing/b", "v1", image("b", [one, two]))
    with PlainProxy(here) as proxy:
        for name in "ab":
            await skopeo.copy(
                side(proxy, f"crossing/{name}", "v1"), side(there, f"crossing/{name}", "v1")
            )
        blobs = proxy.seen("GET", "/blobs/")
        assert sum(digest_of(one) in each.path for each in blobs) == 1
        assert proxy.bytes_sent < len(one) + len(two) + 20_000


async def test_tls_and_tokens(there: RegistryServer) -> None:
    with (
        RegistryServer(tls=True) as tls,
        TokenServer() as tokens,
        RegistryServer(tokens=tokens) as guarded,
    ):
        tls.push("team/app", "v1", BOTH)
        await skopeo.copy(side(tls, "team/app", "v1", login=None), side(guarded, "x", "v1"))
        assert guarded.digest("x", "v1") == BOTH.digest
        other = CopyEnd(
            side(tls, "team/app", "v1").reference,
            RegistryAddress(tls.host, ca_bundle="/etc/hostname"),
        )
        with pytest.raises(EndpointRefused, match="x509") as told:
            await skopeo.copy(other, side(there, "x", "v1"))
        assert told.value.code == "UntrustedCertificate"


# ----------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("login", [None, UserPassword(USER, "wrong")])
async def test_wrong_credentials(
    here: RegistryServer, there: RegistryServer, login: UserPassword | None
) -> None:
    with pytest.raises(EndpointRefused, match=NOT_LET_IN):
        await skopeo.copy(side(here, "team/app", "v1", login=login), side(there, "x", "v1"))
    with pytest.raises(EndpointRefused, match=NOT_LET_IN):
        await skopeo.copy(side(here, "team/app", "v1"), side(there, "x", "v1", login=login))


async def test_credentials_of_the_machine_are_not_used(
    here: RegistryServer, there: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    for place in (
        "home/.docker/config.json",
        "home/.config/containers/auth.json",
        "run/containers/auth.json",
    ):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(json.dumps({"auths": {here.host: auth}}))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with pytest.raises(EndpointRefused, match=NOT_LET_IN):
        await skopeo.copy(side(here, "team/app", "v1", login=None), side(there, "x", "v1"))


async def test_what_the_machines_policy_rejects(
    here: RegistryServer, there: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / ".config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    signed = {
        "type": "signedBy",
        "keyType": "GPGKeys",
        "keyData": base64.b64encode(b"none").decode(),
    }
    for requirement in ({"type": "reject"}, signed):
        policy.write_text(json.dumps({"default": [requirement]}))
        with pytest.raises(ObjectRefused) as told:
            await skopeo.copy(side(here, "team/app", "v1"), side(there, "x", "v1"))
        assert told.value.code == "POLICY"


async def test_what_skopeo_cannot_copy_is_known_before() -> None:
    """One that takes such a name needs no such rule any more."""
    assert "IPv6" in skopeo.obstacle("a.test", "[::1]:5000")
    assert skopeo.obstacle("127.0.0.1:5000", "registry") == ""
    names = ["docker://[::1]:1/a:b", "nothing:x"]
    process = await asyncio.create_subprocess_exec(
        "skopeo", "copy", *names, stderr=asyncio.subprocess.PIPE
    )
    assert b"invalid reference format" in (await process.communicate())[1]


async def test_what_is_not_there(here: RegistryServer, there: RegistryServer) -> None:
    for missing in (side(here, "team/app", "none"), side(here, "no/such", "v1")):
        with pytest.raises(SourceGone, match="manifest unknown"):
            await skopeo.copy(missing, side(there, "x", "v1"))


async def test_a_registry_that_is_not_there(here: RegistryServer, there: RegistryServer) -> None:
    there.close()
    with pytest.raises(ConnectionFailed, match="connection refused"):
        await skopeo.copy(side(here, "team/app", "v1"), side(there, "x", "v1"))


async def test_limits_and_tags_that_cannot_be_moved(
    here: RegistryServer, there: RegistryServer
) -> None:
    def says(code: str, message: str) -> bytes:
        return json.dumps({"errors": [{"code": code, "message": message}]}).encode()

    json_type = {"Content-Type": "application/json"}
    with PlainProxy(here) as proxy:
        body = says("TOOMANYREQUESTS", "You have reached your pull rate limit")
        # skopeo itself tries five times; without being told for how long to wait, it takes a
        # minute.
        proxy.rule(
            Reply(429, body=body, headers={**json_type, "Retry-After": "1"}), key="manifests/v1"
        )
        with pytest.raises(Throttled) as limited:
            await skopeo.copy(side(proxy, "team/app", "v1"), side(there, "x", "v1"))
        assert limited.value.code == "TOOMANYREQUESTS"
    with PlainProxy(there) as proxy:
        body = says("TAG_INVALID", "cannot be overwritten because the tag is immutable")
        proxy.rule(Reply(400, body=body, headers=json_type), method="PUT", key="manifests/v1")
        with pytest.raises(ObjectRefused, match="immutable") as fixed:
            await skopeo.copy(side(here, "team/app", "v1"), side(proxy, "x", "v1"))
        assert fixed.value.code == "IMMUTABLE"


async def test_a_registry_killed_in_the_middle_of_a_blob(here: RegistryServer) -> None:
    there = RegistryServer(auth=True)
    with PlainProxy(here) as proxy:
        proxy.rule(Stall(1.0, after=500_000), method="GET", key=f"blobs/{digest_of(BASE)}")
        copying = asyncio.create_task(
            skopeo.copy(side(proxy, "team/app", "v1"), side(there, "x", "v1"))
        )
        await until(lambda: proxy.count("GET", f"blobs/{digest_of(BASE)}"))
        await asyncio.sleep(0.2)
        there.process.stop(kill=True)
        with pytest.raises(Transient) as told:
            await copying
        assert told.value.code in ("ConnectionBroken", "ConnectionFailed")
    there.close()
    with RegistryServer(auth=True) as fresh:
        await skopeo.copy(side(here, "team/app", "v1"), side(fresh, "x", "v1"))
        assert fresh.digest("x", "v1") == BOTH.digest


async def test_a_source_killed_in_the_middle_of_a_blob(there: RegistryServer) -> None:
    with RegistryServer(auth=True) as source:
        source.push("team/app", "v1", BOTH)
        with PlainProxy(source) as proxy:
            proxy.rule(Stall(30, after=500_000), method="GET", key=f"blobs/{digest_of(BASE)}")
            copying = asyncio.create_task(
                skopeo.copy(side(proxy, "team/app", "v1"), side(there, "x", "v1"))
            )
            await until(lambda: proxy.count("GET", f"blobs/{digest_of(BASE)}"))
            await asyncio.sleep(0.2)
        source.process.stop(kill=True)
        with pytest.raises(Transient):
            await copying
    assert there.digest("x", "v1") is None  # nothing is there by halves


# ------------------------------------------------------------------ secrets, time, stopping, skopeo


def processes(word: str) -> list[int]:
    """Those whose arguments hold the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


async def running(
    proxy: PlainProxy, there: RegistryServer, **options: Any
) -> tuple[asyncio.Task[SkopeoCopy], int]:
    """A copy that stands still in the middle, and the number of its process."""
    proxy.rule(Stall(60, after=500_000), method="GET", key="blobs")
    host = proxy.url.partition("//")[2]
    copying = asyncio.create_task(
        skopeo.copy(side(proxy, "team/app", "v1"), side(there, "x", "v1"), **options)
    )
    await until(lambda: proxy.count("GET", "blobs"))
    pids = processes(f"docker://{host}/")
    assert len(pids) == 1
    return copying, pids[0]


@pytest.mark.parametrize("in_memory", [True, False])
async def test_credentials_are_seen_nowhere(
    here: RegistryServer,
    there: RegistryServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_memory: bool,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not in_memory:
        monkeypatch.delattr("os.memfd_create")
    with PlainProxy(here) as proxy:
        copying, pid = await running(proxy, there)
        secrets = [PASSWORD.encode(), base64.b64encode(f"{USER}:{PASSWORD}".encode()).rstrip(b"=")]
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert content
            assert not any(secret in content for secret in secrets)
        files = list(tmp_path.rglob("*"))
        if in_memory:
            assert files == []
        else:
            assert files
            assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in files)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert list(tmp_path.rglob("*")) == []
    # And what is told of a failure holds none.
    with pytest.raises(EndpointRefused) as told:
        await skopeo.copy(
            side(here, "team/app", "v1", login=UserPassword(USER, "hunter2")),
            side(there, "x", "v1"),
        )
    assert "hunter2" not in f"{told.value} {told.value.said} {side(here, 'x')!r}"


async def test_without_files_in_memory(
    here: RegistryServer, there: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError("not permitted")

    monkeypatch.setattr("os.memfd_create", refuse)
    done = await skopeo.copy(side(here, "team/app", "v1"), side(there, "x", "v1"))
    assert done.digest == there.digest("x", "v1") == BOTH.digest


async def test_stopping_ends_skopeo(here: RegistryServer, there: RegistryServer) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with PlainProxy(here) as proxy:
        copying, pid = await running(proxy, there)
        begun = time.monotonic()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert time.monotonic() - begun < 3
        assert not Path(f"/proc/{pid}").exists()  # ended, and waited for
    assert set(Path("/proc/self/fd").iterdir()) <= before


async def test_a_time_limit(here: RegistryServer, there: RegistryServer) -> None:
    with PlainProxy(here) as proxy:
        copying, pid = await running(proxy, there, timeout=1.5)
        with pytest.raises(Transient, match=r"not copied within 1\.5 s") as told:
            await copying
        assert told.value.code == "TimeLimit"
        assert not Path(f"/proc/{pid}").exists()


STUBBORN = """#!/bin/sh
trap '' TERM
sh -c "trap '' TERM; sleep {seconds}" &
echo started >> {mark}
while :; do sleep 0.1; done
"""


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


async def test_one_that_does_not_want_to_end_is_ended_with_all_that_it_started(
    here: RegistryServer, there: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skopeo, "GRACE", 0.3)
    mark, seconds = (
        tmp_path / "mark",
        f"61.{os.getpid()}",
    )  # a time that no other run of this test has
    command = program(tmp_path / "stubborn", STUBBORN.format(mark=mark, seconds=seconds))
    copying = asyncio.create_task(
        skopeo.copy(side(here, "a", "b"), side(there, "c", "d"), command=command)
    )
    await until(mark.exists)
    await until(lambda: processes(seconds))
    copying.cancel()
    await asyncio.sleep(0.05)
    copying.cancel()  # whoever is in a hurry changes nothing
    with pytest.raises(asyncio.CancelledError):
        await copying
    await until(
        lambda: not processes(seconds) and not processes(command)
    )  # killed, they are gone in a moment


async def test_a_skopeo_that_is_killed(here: RegistryServer, there: RegistryServer) -> None:
    with PlainProxy(here) as proxy:
        copying, pid = await running(proxy, there)
        os.kill(pid, 9)
        with pytest.raises(Transient, match="ended by signal 9") as told:
            await copying
        assert told.value.code == "Killed"


async def test_the_version_of_skopeo(tmp_path: Path) -> None:
    assert await skopeo.version() >= skopeo.OLDEST
    with pytest.raises(UsageError, match=r"is not here: it converts images .*; install it") as told:
        await skopeo.version(str(tmp_path / "none"))
    assert "\n" not in str(told.value)
    old = program(tmp_path / "old", "#!/bin/sh\necho skopeo version 1.2.2-dev\n")
    with pytest.raises(UsageError, match=r"is of version 1\.2\.2; 1\.6 or newer is needed"):
        await skopeo.version(old)
    with pytest.raises(UsageError, match="does not tell its version"):
        await skopeo.version(program(tmp_path / "odd", "#!/bin/sh\nexit 1\n"))


async def test_copying_without_skopeo(
    here: RegistryServer, there: RegistryServer, tmp_path: Path
) -> None:
    says = (
        "cannot be run, which this image has to be copied with: No such file or directory; "
        "install it"
    )
    with pytest.raises(NotSupported, match=says):
        await skopeo.copy(side(here, "a"), side(there, "b"), command=str(tmp_path / "none"))


async def test_a_machine_without_a_policy(
    here: RegistryServer, there: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    command = program(tmp_path / "spy", f'#!/bin/sh\necho "$@" > {seen}\n')
    await skopeo.copy(side(here, "a", "b"), side(there, "c", "d"), command=command)
    assert "--insecure-policy" not in seen.read_text().split()
    monkeypatch.setattr(skopeo, "POLICIES", (str(tmp_path / "none"),))
    monkeypatch.setenv("HOME", str(tmp_path))
    await skopeo.copy(side(here, "a", "b"), side(there, "c", "d"), command=command)
    assert seen.read_text().split()[:2] == ["--insecure-policy", "copy"]


async def test_ten_at_once(here: RegistryServer, there: RegistryServer) -> None:
    here.push("crowd/first", "v1", image("first", [BASE]))
    for number in range(10):
        here.push(
            f"crowd/{number}", "v1", image(str(number), [BASE, layer(f"crowd-{number}", 20_000)])
        )
    await skopeo.copy(side(here, "crowd/first", "v1"), side(there, "crowd/first", "v1"))
    await asyncio.gather(
        *(
            skopeo.copy(side(here, f"crowd/{number}", "v1"), side(there, f"crowd/{number}", "v1"))
            for number in range(10)
        )
    )
    for number in range(10):
        assert there.digest(f"crowd/{number}", "v1") == here.digest(f"crowd/{number}", "v1")

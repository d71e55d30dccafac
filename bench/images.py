"""Container images between two registries: dth beside skopeo, by what the registries are asked for
and what it costs.

Both registries are real ones, each behind a proxy that counts. Every run has a destination, a home
and a cache of its own, so that nothing which one of them found out serves another.
"""

import json
import os
import re
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from bench.measure import CREDENTIALS, Cost, dth, run, tool
from tests.servers.proxy import Reply, Request
from tests.servers.registry import (
    OCI_INDEX,
    Built,
    EcrServer,
    PlainProxy,
    RegistryServer,
    image,
    index,
    layer,
)

MIB = 1024 * 1024
ROUNDS = 3  # of each variant, in turns
COUNT = 20  # images that share layers
BASES = (16 * MIB, 8 * MIB, 4 * MIB, 8 * 1024)  # layers that all images of a platform have
OWN = (2 * MIB, 2 * MIB)
TAGS = 1000  # that have not changed
SHOWN_TAGS = 100  # of them for `skopeo copy`, whose requests are the same for each
PREFIX = "mirror"
AT_ONCE = 10  # images
ECR = "ecr:eu-west-1"

_KINDS = (
    ("uploads", r"/blobs/uploads/"),
    ("blobs", r"/blobs/"),
    ("manifests", r"/manifests/"),
    ("referrers", r"/referrers/"),
    ("tags", r"/tags/list$"),
    ("catalog", r"^/v2/_catalog$"),
    ("ping", r"^/v2/$"),
)


@dataclass(frozen=True)
class Traffic:
    """What a registry was asked for, such as "HEAD manifests", and the bytes of blobs that left and
    entered it."""

    calls: Counter[str]
    blobs_out: int
    blobs_in: int

    @staticmethod
    def of(requests: list[Request]) -> "Traffic":
        blobs = [request for request in requests if "/blobs/" in request.path]
        return Traffic(
            Counter(f"{request.method} {_kind(request)}" for request in requests),
            sum(request.sent for request in blobs if request.method == "GET"),
            sum(request.received for request in blobs),
        )

    @property
    def requests(self) -> int:
        return self.calls.total()


@dataclass(frozen=True)
class Seen:
    """One run. `control`: calls of the APIs of Amazon ECR on both sides."""

    cost: Cost
    source: Traffic
    dest: Traffic
    control: int = 0

    @property
    def requests(self) -> int:
        return self.source.requests + self.dest.requests + self.control


@dataclass(frozen=True)
class Least:
    """What has to move, each thing once."""

    bytes: int  # of configs and layers
    blobs: int  # those
    manifests: int
    logical: int  # bytes, if nothing were shared


def _kind(request: Request) -> str:
    if request.method == "POST" and "mount=" in request.query:
        return "mounts" if request.status == 201 else "mounts refused"
    return next((name for name, pattern in _KINDS if re.search(pattern, request.path)), "other")


# ---------------------------------------------------------------------------- what there is to copy


def pictures() -> dict[str, Built]:
    """Images by the name of their repository; two of five are of two platforms."""

    def one(name: str, architecture: str) -> Built:
        shared = [layer(f"bench-{architecture}-{place}", size) for place, size in enumerate(BASES)]
        own = [
            layer(f"bench-{name}-{architecture}-{place}", size) for place, size in enumerate(OWN)
        ]
        return image(name, [*shared, *own], architecture=architecture)

    found = {}
    for number in range(COUNT):
        name = f"team/app{number:02}"
        amd64 = one(name, "amd64")
        found[name] = index(amd64, one(name, "arm64")) if number % 5 in (0, 2) else amd64
    return found


def least(images: dict[str, Built], there: int) -> Least:
    """To a registry that has the first so many of them."""
    parts = [[each, *each.children] for each in images.values()]
    has, wants = (
        [part for several in some for part in several] for some in (parts[:there], parts[there:])
    )
    had = {blob for each in has for blob in each.blobs}
    blobs = {blob for each in wants for blob in each.blobs} - had
    logical = sum(len(blob) for each in wants for blob in each.blobs)
    return Least(sum(map(len, blobs)), len(blobs), len({each.digest for each in wants}), logical)


def plant(server: RegistryServer, repository: str, tag: str, built: Built) -> None:
    """An image of one platform, written as the registry itself writes it: thousands of requests
    would take long."""
    root = server.data / "docker/registry/v2"
    for body in (*built.blobs, built.body):
        algorithm, value = (digest := Built("", body).digest).split(":")
        data = root / "blobs" / algorithm / value[:2] / value / "data"
        place = "_manifests/revisions" if body is built.body else "_layers"
        link = root / "repositories" / repository / place / algorithm / value / "link"
        for path, content in ((data, body), (link, digest.encode())):
            if not path.exists():
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
    server.tag_many(repository, [tag], built)


def builds(count: int) -> Iterator[tuple[str, Built]]:
    """Tags, each with an image of its own on layers that all have."""
    shared = [layer(f"bench-small-{place}", 32 * 1024) for place in range(3)]
    for number in range(count):
        yield f"v{number}", image(f"build {number}", [*shared, layer(f"bench-build-{number}", 512)])


# ------------------------------------------------------------------------------------- running them


@dataclass(frozen=True)
class Ends:
    """A source and a destination for one run, and a folder for what belongs to it."""

    source: PlainProxy
    dest: PlainProxy
    folder: Path

    @property
    def registry(self) -> RegistryServer:
        """The destination itself, which counts nothing."""
        server = self.dest.upstream
        assert isinstance(server, RegistryServer)
        return server

    def measure(self, command: list[str], **environment: str) -> Seen:
        for proxy in (self.source, self.dest):
            proxy.forget()
        cost = run(_alone(command, self.folder), **_home(self.folder), **environment)
        return Seen(cost, Traffic.of(self.source.requests), Traffic.of(self.dest.requests))


def _home(folder: Path) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home)}


def _alone(command: list[str], folder: Path) -> list[str]:
    """With what skopeo remembers of layers in the folder. Root's is in one place, whatever the
    environment says."""
    if os.geteuid():
        return command
    kept = Path("/var/lib/containers")
    kept.mkdir(exist_ok=True)
    own = folder / "containers"
    own.mkdir(exist_ok=True)
    script = f'mount --bind {shlex.quote(str(own))} {kept} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command]


def host(server: PlainProxy) -> str:
    return server.url.partition("//")[2]


def sync_with_dth(ends: Ends, *names: str, options: tuple[str, ...] = ()) -> Seen:
    """`names` do not matter: all of the registry is meant."""
    state = str(ends.folder / "state")
    return ends.measure(
        dth(
            "ecr",
            "sync",
            host(ends.source),
            f"{host(ends.dest)}/{PREFIX}",
            "--quiet",
            "--state",
            state,
            *options,
        )
    )


def sync_with_skopeo(ends: Ends, *names: str) -> Seen:
    """One process for all; `names` are repositories, of which it takes every tag."""
    listing = ends.folder / "sync.yaml"
    images: dict[str, list[str]] = {name.partition(":")[0]: [] for name in names}
    listing.write_text(
        json.dumps({host(ends.source): {"tls-verify": False, "images": images}})
    )  # JSON is YAML
    into = f"{host(ends.dest)}/{PREFIX}/team"  # it leaves out the path of the source
    return ends.measure(
        [
            tool("skopeo"), "sync", "--all", "--src", "yaml", "--dest", "docker",
            "--dest-tls-verify=false",
            str(listing), into,
        ]
    )  # fmt: skip


def copy_with_skopeo(ends: Ends, *names: str) -> Seen:
    """A process for each image, ten at once, in no order that anybody thought of."""
    pairs = ends.folder / "pairs"
    pairs.write_text(
        "".join(
            f"docker://{host(ends.source)}/{name} docker://{host(ends.dest)}/{PREFIX}/{name}\n"
            for name in names
        )
    )
    return ends.measure(
        [
            "xargs", "-a", str(pairs), "-n", "2", "-P", str(AT_ONCE),
            tool("skopeo"), "copy", "--all", "--quiet", "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ]
    )  # fmt: skip


Variant = Callable[..., Seen]
PEERS: dict[str, Variant] = {
    "dth": sync_with_dth,
    "skopeo sync": sync_with_skopeo,
    "skopeo copy": copy_with_skopeo,
}


@contextmanager
def between(source: RegistryServer, *, copy_of: Path | None = None) -> Iterator[Ends]:
    """From the source to a destination of its own; with `copy_of`, to one that holds what is stored
    there, under the prefix."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dth-bench-")))
        dest = stack.enter_context(RegistryServer())
        if copy_of:
            root = Path("docker/registry/v2")
            shutil.copytree(copy_of / root / "blobs", dest.data / root / "blobs")
            shutil.copytree(
                copy_of / root / "repositories", dest.data / root / "repositories" / PREFIX
            )
        yield Ends(
            stack.enter_context(PlainProxy(source)), stack.enter_context(PlainProxy(dest)), folder
        )


def in_turns(
    variants: dict[str, Callable[[], Seen]], rounds: int = ROUNDS
) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            found[name].append(variant())
    return found


# ------------------------------------------------------------------------------------------ benches


def shared(there: int = 0) -> tuple[Least, dict[str, list[Seen]]]:
    """Images that share layers, to a registry that has the first so many of them, which another
    machine put there."""
    images = pictures()
    with RegistryServer() as source:
        for name, built in images.items():
            source.push(name, "v1", built)

        def copied(variant: Variant) -> Seen:
            with between(source) as ends:
                for name in list(images)[:there]:
                    ends.registry.push(f"{PREFIX}/{name}", "v1", images[name])
                seen = variant(ends, *(f"{name}:v1" for name in images))
                for name, built in images.items():
                    if ends.registry.digest(f"{PREFIX}/{name}", "v1") != built.digest:
                        raise RuntimeError(
                            f"{name} is not at the destination as it is at the source"
                        )
                return seen

        return least(images, there), in_turns(
            {name: partial(copied, peer) for name, peer in PEERS.items()}
        )


def unchanged(count: int = TAGS, part: int = SHOWN_TAGS) -> dict[str, list[Seen]]:
    """Tags that are at the destination as they are: `skopeo copy` for a part of them only. "dth,
    referrers API": from a registry that can be asked what refers to an image."""
    name = "team/app"
    with RegistryServer() as source:
        tags = []
        for tag, built in builds(count):
            plant(source, name, tag, built)
            tags.append(f"{name}:{tag}")

        def nothing(variant: Variant, names: list[str], referrers: bool = False) -> Seen:
            with between(source, copy_of=source.data) as ends:
                if referrers:
                    nobody = json.dumps(
                        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
                    ).encode()
                    for proxy in (ends.source, ends.dest):
                        answer = Reply(200, headers={"Content-Type": OCI_INDEX}, body=nobody)
                        proxy.rule(answer, key=r"/referrers/")
                return variant(ends, *names)

        return in_turns(
            {
                "dth": partial(nothing, sync_with_dth, tags),
                "dth, referrers API": partial(nothing, sync_with_dth, tags, referrers=True),
                "skopeo sync": partial(nothing, sync_with_skopeo, tags),
                "skopeo copy": partial(nothing, copy_with_skopeo, tags[:part]),
            }
        )


def unchanged_ecr(count: int = TAGS, repositories: int = 1) -> list[Seen]:
    """The same from Amazon ECR to Amazon ECR, which both list in bulk."""
    with RegistryServer() as source:
        for number, (tag, built) in enumerate(builds(count)):
            plant(source, f"team/app{number % repositories:02}", tag, built)
        names = [f"team/app{number:02}" for number in range(repositories)]

        def nothing() -> Seen:
            with (
                between(source, copy_of=source.data) as ends,
                EcrServer(_behind(ends.source, source)) as here,
                EcrServer(_behind(ends.dest, ends.registry)) as there,
            ):
                here.make(*names)
                there.make(*(f"{PREFIX}/{name}" for name in names))
                seen = ends.measure(
                    dth(
                        "ecr", "sync", ECR, f"{ECR}/{PREFIX}", "--src-endpoint-url", here.url,
                        "--dst-endpoint-url", there.url, "--quiet", "--state",
                        str(ends.folder / "state"),
                    ),
                    **CREDENTIALS,
                )  # fmt: skip
                return Seen(seen.cost, seen.source, seen.dest, len(here.calls) + len(there.calls))

        return in_turns({"dth": nothing})["dth"]


def _behind(proxy: PlainProxy, server: RegistryServer) -> RegistryServer:
    """The registry as Amazon ECR would name it: by the proxy in front of it."""
    return cast(
        RegistryServer,
        SimpleNamespace(host=host(proxy), data=server.data, manifest=server.manifest),
    )

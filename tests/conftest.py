"""Fixtures: the servers of `tests/servers`, once for each test process, and buckets of a test's
own."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.servers.ceph import Ceph, missing_commands
from tests.servers.glacier import Glacier
from tests.servers.ministack import MiniStack
from tests.servers.moto_server import MotoServer
from tests.servers.null_s3 import NullS3
from tests.servers.postgres import Postgres, missing_parts
from tests.servers.proxy import Proxy
from tests.servers.rclone_serve import RcloneServe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.s3 import S3Server


# How long an example takes says how busy the machine is, nothing else.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


def pytest_configure() -> None:
    """No test reads the AWS settings of whoever runs it, asks for an instance role, or uses their
    proxy."""
    for name in [
        name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")
    ]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.devnull
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Unit tests and the contract on this machine alone are `quick`, as are modules that say so.

    Tests of one group go to one process (`--dist loadgroup`)."""
    for item in items:
        folder = item.path.parent.name
        has_server = folder == "contract" and any(
            f"[{name}" in item.name for name in ("aws", "postgres")
        )
        if folder in ("unit", "contract") and not has_server:
            item.add_marker("quick")
        if config.getoption("loadgroup", False) and (group := _group(item)):
            # xdist 3.8 puts it into `_nodeid`, which pytest 9.2 does not read any more.
            item._id = type(item._id).parse(f"{item.nodeid}@{group}")


def pytest_collection_finish() -> None:
    """What is collected stays. Looking for garbage among it took a twentieth of the time."""
    gc.collect()
    gc.freeze()


def _group(item: pytest.Item) -> str:
    """The tests that share what is expensive to make: Ceph, or what their module makes once."""
    if marker := item.get_closest_marker("xdist_group"):
        return str(marker.args[0])
    fixtures = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    shares = any(found[-1].scope == "module" for found in fixtures.values() if found)
    return item.nodeid.partition("::")[0] if shares else ""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder with what is made in it, by one of the processes of this run for all of them."""
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / f"once-{name}"
    with (shared / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = shared / f"once-{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The CloudFormation templates, as `dth aws` makes them."""
    from dth.infra.app import synth

    made = made_once(tmp_path_factory, "templates", synth)
    return {file.stem: file for file in made.glob("*.json")}


@pytest.fixture(scope="session")
def cloud() -> Iterator[MiniStack]:
    """The services of AWS that a platform stands on. Each test makes queues and tables of its own
    there."""
    with MiniStack() as server:
        yield server


@pytest.fixture(scope="session")
def s3_a() -> Iterator[MiniStack]:
    """The store that tests copy from."""
    with MiniStack() as server:
        yield server


@pytest.fixture(scope="session")
def s3_b() -> Iterator[MiniStack]:
    """Another store, the one that tests copy to."""
    with MiniStack() as server:
        yield server


@pytest.fixture(scope="session")
def s3_tls() -> Iterator[MiniStack]:
    """A store that speaks TLS, with a CA of its own in `.ca`."""
    with MiniStack(tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def s3_auth() -> Iterator[MiniStack]:
    """A store that checks the signatures and policies of IAM users and roles (`.user()` makes
    one)."""
    with MiniStack(auth=True) as server:
        yield server


@pytest.fixture(scope="session")
def s3_rclone() -> Iterator[RcloneServe]:
    """A quirky store."""
    with RcloneServe() as server:
        yield server


@pytest.fixture(scope="session")
def s3_moto() -> Iterator[MotoServer]:
    """A second opinion on S3."""
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def null_s3() -> Iterator[NullS3]:
    """A store that costs next to nothing. Skips the test where nginx is missing, except in CI."""
    if shutil.which("nginx") is None and os.environ.get("CI") != "true":
        pytest.skip("nginx is not installed")
    with NullS3() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """A real Ceph. Skips the test where it is not installed, except in CI.

    Tests that use it are of the xdist group "ceph", so that one process starts it.
    """
    missing = missing_commands()
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"not installed: {', '.join(missing)}")
    with Ceph() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, with a database for each test. Skips the test where it is not installed,
    except in CI."""
    missing = missing_parts()
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"not installed: {', '.join(missing)}")
    with Postgres() as server:
        yield server


def _bucket(server: S3Server, prefix: str) -> Iterator[str]:
    name = server.bucket(prefix)
    yield name
    server.drop(name)


@pytest.fixture
def bucket_a(s3_a: MiniStack) -> Iterator[str]:
    """The name of an empty bucket in s3_a."""
    yield from _bucket(s3_a, "source")


@pytest.fixture
def bucket_b(s3_b: MiniStack) -> Iterator[str]:
    """The name of an empty bucket in s3_b."""
    yield from _bucket(s3_b, "destination")


@pytest.fixture
def proxy_a(s3_a: MiniStack) -> Iterator[Proxy]:
    """A proxy in front of s3_a."""
    with Proxy(s3_a) as proxy:
        yield proxy


@pytest.fixture
def proxy_b(s3_b: MiniStack) -> Iterator[Proxy]:
    """A proxy in front of s3_b."""
    with Proxy(s3_b) as proxy:
        yield proxy


@pytest.fixture
def glacier(s3_a: MiniStack) -> Iterator[Glacier]:
    """A proxy in front of s3_a in which objects can be archived."""
    with Glacier(s3_a) as server:
        yield server


@pytest.fixture
def confined(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process works for the users of a hub, as a hub of one machine does without settings."""
    from dth.core.confinement import Confinement, _State
    from dth.core.network import Network

    open_network = Network(loopback=True, private=True)
    monkeypatch.setattr(_State, "confinement", Confinement(network=open_network))

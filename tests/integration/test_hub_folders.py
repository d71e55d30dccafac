"""A hub copies from and to folders of its machine, but only those that its settings list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dth.core.errors import UsageError
from tests.engine import Side, bodies
from tests.hub import CREATE, Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine import Dth


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The folder that is listed, with a file and a symbolic link that leads outside."""
    folder, secret = tmp_path / "export", tmp_path / "secret"
    for each in (folder / "2026", secret):
        each.mkdir(parents=True)
    (folder / "2026/a").write_bytes(b"in")
    (secret / "b").write_bytes(b"canary")
    (folder / "out").symlink_to(secret)
    (folder / "2026/file").symlink_to(secret / "b")
    return folder


@pytest.fixture
def lists(tmp_path: Path, export: Path) -> Iterator[Hub]:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "hub.yaml").write_text(f"folders: [{export}]\n")
    with Hub(tmp_path) as hub:
        yield hub


def create(hub: Hub, **values: str) -> str:
    """A task that works once, or on a schedule if there is one."""
    hub.keep_secret("keys", access_key_id="test", secret_access_key="test")
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    often = "FIXED_RATE" if "ec2CronExpression" in values else "ONE_TIME"
    wanted = {"type": "S3EC2", "scheduleType": often, "parameters": parameters}
    return str(hub.call(CREATE, input=wanted)["id"])


def folder_task(hub: Hub, source: str, dest: Side, **more: str) -> str:
    return create(
        hub,
        srcBucket=source,
        destBucket=dest.bucket,
        destPrefix=dest.prefix,
        destEndpoint=dest.server.url,
        destCredentials="keys",
        **more,
    )


def test_a_listed_folder_is_copied_and_nothing_that_its_links_lead_to(
    lists: Hub, export: Path, dest: Side
) -> None:
    for path, prefix in ((export, ""), (export / "2026", "below/")):
        task = folder_task(lists, str(path), Side(dest.server, dest.bucket, prefix))
        lists.wait(task, "DONE")
    assert dest.contents() == {"2026/a": b"in", "below/a": b"in"}


def test_a_bucket_is_copied_into_a_listed_folder(lists: Hub, export: Path, source: Side) -> None:
    source.put(bodies(["x/y"]))
    new = export / "new"
    task = create(
        lists,
        srcBucket=source.bucket,
        srcEndpoint=source.server.url,
        srcCredentials="keys",
        destBucket=str(new),
    )
    lists.wait(task, "DONE")
    assert (new / "x/y").read_bytes() == source.get("x/y")


def test_what_is_not_listed_is_refused(lists: Hub, export: Path, dest: Side) -> None:
    for path in (export.parent, export / "..", export / "out", f"{export}2", "/etc"):
        with pytest.raises(UsageError, match=r"is not in a folder of this hub .*lists"):
            folder_task(lists, str(path), dest)
    with pytest.raises(UsageError, match="a hub follows no symbolic links"):
        folder_task(lists, str(export), dest, links="follow")


def test_a_link_that_comes_later_leads_nowhere(lists: Hub, export: Path, dest: Side) -> None:
    (export / "later").mkdir()
    task = folder_task(lists, str(export / "later"), dest)
    lists.wait(task, "DONE")
    (export / "later").rmdir()
    (export / "later").symlink_to(export.parent / "secret")
    lists.do("startRun", task)
    lists.wait(task, "ERROR")
    assert dest.listed() == []


def test_the_data_of_the_hub_is_in_no_folder(dth: Dth, tmp_path: Path) -> None:
    settings = tmp_path / "x.yaml"
    for listed, told in ((tmp_path, "hub's own data"), ("rel", "from / on")):
        settings.write_text(f"folders: [{listed}]\n")
        up = ("up", "--port", "0", "--data-dir", tmp_path / "data", "--settings", settings)
        done = dth.here(*up)
        assert (done.code, told in done.err) == (2, True), done

"""What a folder answers to the requests that stores get, and which errors it has."""

from __future__ import annotations

import errno
import os
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import EndpointRefused, ObjectChanged, ObjectRefused, TransferError, Transient
from dth.objects.store.folders.store import PART_SIZE, Folder
from dth.objects.store.request import Request

if TYPE_CHECKING:
    from pathlib import Path


class NoTransport:
    """Counts nothing."""

    def count(self, **_: int) -> None:
        pass


def folder(path: Path, *, writes: bool = True) -> Folder:
    notes: list[str] = []
    transport: Any = NoTransport()
    return Folder(str(path), transport, notes.append, writes=writes)


def put(key: str, body: bytes = b"x", **headers: str) -> Request:
    return Request(
        "PUT",
        key,
        headers={name.replace("_", "-"): text for name, text in headers.items()},
        body=body,
    )


@pytest.fixture(params=[True, False], ids=["without a name", "with a temporary name"])
def nameless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which a file is written."""
    if not request.param:
        monkeypatch.setattr("dth.objects.store.folders.store.NAMELESS", 0)


@pytest.mark.usefixtures("nameless")
async def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    one = folder(tmp_path)
    for body in (b"first", b"second", b""):
        await one.send(put("a/b", body))
        assert (tmp_path / "a" / "b").read_bytes() == body
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    (tmp_path / "c").touch()
    assert (tmp_path / "a" / "b").stat().st_mode == (tmp_path / "c").stat().st_mode


@pytest.mark.usefixtures("nameless")
@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.EACCES, ObjectRefused, "PermissionDenied"),
        (errno.ENOSPC, EndpointRefused, "DiskFull"),
        (errno.EDQUOT, EndpointRefused, "DiskFull"),
        (errno.EROFS, EndpointRefused, "ReadOnly"),
        (errno.EFBIG, ObjectRefused, "FileTooLarge"),
        (errno.ENAMETOOLONG, ObjectRefused, "NameRefused"),
        (errno.EILSEQ, ObjectRefused, "NameRefused"),
        (errno.EIO, Transient, "InputOutput"),
        (errno.EMFILE, Transient, "InputOutput"),
    ],
)
async def test_each_error_of_the_system_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[TransferError],
    code: str,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(kind) as caught:
        await folder(tmp_path).send(put("a"))
    assert caught.value.code == code
    # Neither the file nor what was written of it.
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_not_the_listed_one_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(ObjectChanged):
        await folder(tmp_path).send(Request("GET", "a", options={"if-match": '"other"'}))


async def test_a_file_that_changes_while_it_is_read_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    pread = os.pread

    def meanwhile(file: int, length: int, first: int) -> bytes:
        (tmp_path / "a").write_bytes(b"2")
        return pread(file, length, first)

    monkeypatch.setattr(os, "pread", meanwhile)
    with pytest.raises(ObjectChanged):
        await folder(tmp_path).send(Request("GET", "a"))


async def test_parts_come_in_any_order_and_are_joined_under_the_name(tmp_path: Path) -> None:
    one = folder(tmp_path)
    answer = await one.send(
        Request(
            "POST", "f/a", {"uploads": ""}, {PART_SIZE: "4", "x-amz-meta-mtime": "1600000000.5"}
        )
    )
    upload = answer.body.split(b"UploadId>")[1].removesuffix(b"</").decode()
    for number, body in ((3, b"z"), (1, b"aaaa"), (2, b"bbbb")):
        await folder(tmp_path).send(
            Request("PUT", "f/a", {"uploadId": upload, "partNumber": str(number)}, body=body)
        )
    assert not (tmp_path / "f" / "a").exists()
    await folder(tmp_path).send(Request("POST", "f/a", {"uploadId": upload}))
    assert (tmp_path / "f" / "a").read_bytes() == b"aaaabbbbz"
    assert (tmp_path / "f" / "a").stat().st_mtime_ns == 1_600_000_000_500_000_000
    with pytest.raises(TransferError) as caught:
        await one.send(Request("POST", "f/a", {"uploadId": upload}))
    assert caught.value.code == "NoSuchUpload"
    with pytest.raises(TransferError):
        await one.send(Request("POST", "f/a", {"uploadId": "../../x:4::"}))


async def test_the_etag_of_the_source_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    one, mark = folder(tmp_path), "x-amz-meta-dth-source-etag"
    await one.send(put("a", **{mark: "etag-of-the-object"}))
    assert (await one.send(Request("HEAD", "a"))).headers.get(mark) == "etag-of-the-object"
    (tmp_path / "a").write_bytes(b"y")
    assert mark not in (await one.send(Request("HEAD", "a"))).headers


async def test_a_destination_states_when_a_file_was_written_whatever_time_it_was_given(
    tmp_path: Path,
) -> None:
    await folder(tmp_path).send(put("a", **{"x-amz-meta-mtime": "1000000000"}))
    there = (await folder(tmp_path).send(Request("HEAD", "a"))).headers["last-modified"]
    here = (await folder(tmp_path, writes=False).send(Request("HEAD", "a"))).headers[
        "last-modified"
    ]
    assert here == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert abs(parsedate_to_datetime(there).timestamp() - time.time()) < 3600


async def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    for method in ("GET", "HEAD"):
        with pytest.raises(TransferError):
            await folder(tmp_path).send(Request(method, "a"))
    with pytest.raises(ObjectRefused, match="special file"):
        await folder(tmp_path).send(put("a"))


async def test_deleting_leaves_folders_that_hold_something(tmp_path: Path) -> None:
    for name in ("a/b/file", "a/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    one = folder(tmp_path)
    await one.send(Request("DELETE", "a/b/file"))
    assert not (tmp_path / "a" / "b").exists()
    await one.send(Request("DELETE", "a/none"))
    await one.send(Request("DELETE", "a/other"))
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.exists()

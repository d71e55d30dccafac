"""An upload that the store does not know any more may have been completed: what is at its key
counts only if it is this upload's result."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dth.core.errors import NoSuchUpload, SourceGone
from dth.core.ports.uploads import GiantUpload, Part, UploadState
from dth.objects.listing.pages import KeyMap
from dth.objects.store.checksums import checksum
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.store.etags import SOURCE_ETAG
from dth.objects.transfer.multipart import Busy, Multipart, UploadLost
from dth.platforms.local.platform import open_platform

if TYPE_CHECKING:
    from dth.objects.transfer.relay import ObjectRoute

BODIES = [b"first part", b"second part"]
SIZE = sum(map(len, BODIES))
MD5S = [hashlib.md5(body).hexdigest() for body in BODIES]
JOINED = f"{hashlib.md5(b''.join(bytes.fromhex(each) for each in MD5S)).hexdigest()}-2"
PROOF = f"crc64nvme:{checksum(ChecksumMode.CRC64NVME, BODIES)}"
WRONG = base64.b64encode(bytes(8)).decode()
OURS = {"content-length": str(SIZE), "etag": '"x"', SOURCE_ETAG: "e1"}
STATED = "x-amz-checksum-crc64nvme"


class Dest:
    """Knows no upload, and says this of the object."""

    def __init__(self, headers: dict[str, str] | None) -> None:
        self._headers = headers

    async def complete_upload(self, *_: Any) -> None:
        raise NoSuchUpload("no such upload")

    async def abort_upload(self, *_: Any) -> None:
        """There is nothing to discard."""

    async def head(self, key: str, **_: Any) -> Any:
        if self._headers is None:
            raise SourceGone("no such key")
        return SimpleNamespace(headers=self._headers)


async def joined(
    headers: dict[str, str] | None, *, proof: str = PROOF, md5s: list[str] = MD5S
) -> str:
    """The ETag that was taken as the result's."""
    parts = [Part(number, etag, PROOF) for number, etag in enumerate(md5s, 1)]
    route = cast("ObjectRoute", SimpleNamespace(dest=Dest(headers), keys=KeyMap()))
    with tempfile.TemporaryDirectory() as folder, open_platform(Path(folder), "w1") as platform:
        upload = GiantUpload("k", 1, "e1", SIZE, 10)
        await platform.uploads.intend(upload)
        await platform.uploads.start("k", "u1", parts, [])
        upload.upload_id, upload.state = "u1", UploadState.UPLOADING
        multipart = Multipart(route, platform.uploads, "w1")
        try:
            etag, _ = await multipart._join(upload, "k", parts, proof)
        except UploadLost:
            found = await platform.uploads.get("k")
            assert found is not None
            assert found.state is UploadState.ABORTED
            with pytest.raises(Busy):  # it is lost in one place only
                await multipart._join(upload, "k", parts, proof)
            raise
        return etag


@pytest.mark.parametrize(
    "headers",
    [
        OURS,
        {**OURS, STATED: PROOF.removeprefix("crc64nvme:")},
        {"content-length": str(SIZE), "etag": f'"{JOINED}"'},
        {"content-length": str(SIZE), "etag": f'"{JOINED.upper()}"'},
        {"content-length": str(SIZE), "etag": f'"{JOINED}"', SOURCE_ETAG: "another"},
    ],
    ids=[
        "our mark",
        "our mark and the checksum",
        "the ETag of the parts",
        "the ETag of the parts in capital letters",
        "the ETag is enough",
    ],
)
async def test_this_uploads_result_is_found(headers: dict[str, str]) -> None:
    assert await joined(headers) == headers["etag"].strip('"')


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {**OURS, "content-length": str(SIZE + 1)},
        {**OURS, "content-length": "0"},
        {"etag": '"x"', SOURCE_ETAG: "e1"},
        {"content-length": str(SIZE), "etag": f'"{JOINED}"'} | {"content-length": "1"},
        {"content-length": str(SIZE), "etag": '"x"'},
        {**OURS, SOURCE_ETAG: "e0"},
        {**OURS, "etag": '"' + JOINED[:-1] + '3"', SOURCE_ETAG: ""},
        {**OURS, STATED: WRONG},
        {**OURS, "etag": f'"{JOINED}"', STATED: WRONG},
    ],
    ids=[
        "nothing is there",
        "one byte more",
        "empty",
        "no size",
        "the ETag of the parts and another size",
        "somebody else's of the size",
        "of an older source",
        "another ETag",
        "the checksum contradicts",
        "the checksum contradicts the ETag",
    ],
)
async def test_what_is_not_this_uploads_result_is_none(headers: dict[str, str] | None) -> None:
    with pytest.raises(UploadLost, match="is gone"):
        await joined(headers)


async def test_without_a_proof_of_ours_no_checksum_contradicts() -> None:
    assert await joined({**OURS, STATED: WRONG}, proof="") == "x"


async def test_parts_without_md5_make_no_etag() -> None:
    """An object without ETag is not taken for what such parts make."""
    with pytest.raises(UploadLost):
        await joined({"content-length": str(SIZE), "etag": ""}, md5s=["opaque", "tags"])

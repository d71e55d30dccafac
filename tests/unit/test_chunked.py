"""Bodies with their checksum behind them: framed rightly, however they come and are read, and as
long as was said."""

from __future__ import annotations

import io

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, CrtCrc64NvmeChecksum
from hypothesis import given
from hypothesis import strategies as st

from dth.objects.store import chunked
from dth.objects.store.checksums import Checksum, checksum
from dth.objects.store.chunked import Trailed
from dth.objects.store.endpoints import ChecksumMode

NAME = "x-amz-checksum-crc64nvme"
PAUSE = 0x10000001


def trailed(length: int) -> Trailed:
    running = Checksum(ChecksumMode.CRC64NVME)
    return Trailed(length, 1 << 30, running.update, NAME, running.base64)


def crossed(pipe: Trailed, pieces: list[bytes], sizes: list[int]) -> bytes:
    """What is read in these sizes, in turn, of a body that comes in these pieces."""
    found, turn = b"", 0
    coming = [each for each in pieces if each]
    while len(found) < len(pipe):
        got = pipe.read(sizes[turn % len(sizes)])
        turn += 1
        if isinstance(got, bytes):
            assert 0 < len(got) <= sizes[(turn - 1) % len(sizes)]
            found += got
        else:
            assert got == PAUSE
            pipe.write(coming.pop(0))
    assert pipe.read(100) == b""
    return found


def as_botocore(body: bytes, chunk: int) -> bytes:
    wrapper = AwsChunkedWrapper(
        io.BytesIO(body), checksum_cls=CrtCrc64NvmeChecksum, checksum_name=NAME, chunk_size=chunk
    )
    return bytes(wrapper.read())


@given(
    st.lists(st.binary(max_size=70), max_size=8),
    st.lists(st.integers(1, 90), min_size=1, max_size=5),
    st.integers(1, 40),
)
def test_a_body_is_framed_as_botocore_frames_it(
    pieces: list[bytes], sizes: list[int], chunk: int
) -> None:
    body = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "CHUNK", chunk)
        pipe = trailed(len(body))
        found = crossed(pipe, pieces, sizes)
    assert found == as_botocore(body, chunk)


@given(st.integers(0, 5 << 40))
def test_the_length_of_any_body_is_known_beforehand(length: int) -> None:
    whole, rest = divmod(length, chunked.CHUNK)
    frames = whole * len("100000\r\n\r\n") + (len(f"{rest:x}\r\n\r\n") if rest else 0)
    end = f"0\r\n{NAME}:{checksum(ChecksumMode.CRC64NVME, [])}\r\n\r\n"
    assert len(trailed(length)) == length + frames + len(end)


def test_a_pipe_whose_source_fails_gives_up() -> None:
    pipe = trailed(10)
    pipe.write(b"12345")
    assert pipe.read(100) == b"a\r\n12345"
    pipe.fail()
    assert not isinstance(pipe.read(100), bytes)


def test_a_request_says_what_its_body_is() -> None:
    assert trailed(70).headers == {
        "content-encoding": "aws-chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": "70",
        "x-amz-trailer": NAME,
    }

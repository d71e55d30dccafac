"""Checksums are those of their definitions, in one piece, in pieces and joined."""

import base64
import hashlib
import itertools
import platform
import zlib
from collections.abc import Callable
from random import Random

import awscrt.checksums
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core import native
from dth.objects.store.checksums import Checksum, checksum, header_name, join_crc64
from dth.objects.store.endpoints import ChecksumMode

CHECK = b"123456789"  # the text whose CRCs the catalogues list


def plain_crc64(data: bytes, total: int = 0) -> int:
    """CRC-64/NVME bit by bit, from its definition, after bytes whose CRC is `total`."""
    crc = total ^ 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[first:last] for first, last in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("mode", "value"),
    [
        (ChecksumMode.CRC64NVME, (0xAE8B14860A799888).to_bytes(8, "big")),
        (ChecksumMode.CRC32C, (0xE3069283).to_bytes(4, "big")),
        (ChecksumMode.CRC32, (0xCBF43926).to_bytes(4, "big")),
        (ChecksumMode.SHA256, hashlib.sha256(CHECK).digest()),
        (ChecksumMode.MD5, hashlib.md5(CHECK).digest()),
        (ChecksumMode.NONE, b""),
    ],
)
def test_a_known_text_has_its_known_checksum(mode: ChecksumMode, value: bytes) -> None:
    assert checksum(mode, [CHECK]) == base64.b64encode(value).decode()


@given(st.sampled_from(ChecksumMode), st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_pieces_have_the_checksum_of_the_whole(
    mode: ChecksumMode, data: bytes, cuts: list[int]
) -> None:
    assert checksum(mode, pieces(data, cuts)) == checksum(mode, [data])


def crc64_functions() -> list[Callable[[bytes, int], int]]:
    """awscrt's, and the extension's which has one on x86-64."""
    own = native.crc64nvme()
    assert own or not native.available() or platform.machine() != "x86_64"
    return [awscrt.checksums.crc64nvme, *([own] if own else [])]


@given(
    st.integers(0, 2**64 - 1),
    # Below, at and above a block of 16 bytes, and the 128 from which blocks are folded.
    st.integers(0, 700) | st.sampled_from([15, 16, 17, 127, 128, 129, 143, 144, 255, 256, 257]),
    st.integers(0, 15),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300)
def test_all_crc64s_are_the_same(total: int, size: int, start: int, dice: Random) -> None:
    data = dice.randbytes(start + size)[start:]
    assert {add(data, total) for add in crc64_functions()} == {plain_crc64(data, total)}


@pytest.mark.parametrize("size", [64 * 1024 - 1, 1024**2, 5 * 1024**2 + 3])
def test_all_crc64s_of_large_bodies_are_the_same(size: int) -> None:
    data = Random(size).randbytes(size)
    first, *others = [add(data, 7) for add in crc64_functions()]
    assert set(others) <= {first}


@given(st.binary(max_size=64))
def test_crc64_and_crc32_are_what_their_definitions_say(data: bytes) -> None:
    assert base64.b64decode(checksum(ChecksumMode.CRC64NVME, [data])) == plain_crc64(data).to_bytes(
        8, "big"
    )
    assert base64.b64decode(checksum(ChecksumMode.CRC32, [data])) == zlib.crc32(data).to_bytes(
        4, "big"
    )


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=8))
def test_joined_crc64s_of_parts_are_the_crc64_of_the_whole(data: bytes, cuts: list[int]) -> None:
    parts = [(checksum(ChecksumMode.CRC64NVME, [part]), len(part)) for part in pieces(data, cuts)]
    assert join_crc64(parts) == checksum(ChecksumMode.CRC64NVME, [data])


@settings(max_examples=15)
@given(st.binary(min_size=1, max_size=50), st.integers(1, 2**45), st.integers(0, 2**45))
def test_joining_is_associative_at_any_length(data: bytes, second: int, third: int) -> None:
    """Lengths beyond what a test could hash: joining two first, or the last two first, is the
    same."""
    a, b, c = (checksum(ChecksumMode.CRC64NVME, [data * n]) for n in (1, 2, 3))
    left = join_crc64([(join_crc64([(a, len(data)), (b, second)]), len(data) + second), (c, third)])
    right = join_crc64([(a, len(data)), (join_crc64([(b, second), (c, third)]), second + third)])
    assert left == right == join_crc64([(a, len(data)), (b, second), (c, third)])


def test_large_parts_join() -> None:
    block = bytes(range(256)) * 4096
    parts = [block * 5, block * 5, block[:12345]]
    joined = join_crc64([(checksum(ChecksumMode.CRC64NVME, [part]), len(part)) for part in parts])
    assert joined == checksum(ChecksumMode.CRC64NVME, parts)
    assert join_crc64([]) == checksum(ChecksumMode.CRC64NVME, [])


def test_a_running_checksum_can_be_read_on_the_way() -> None:
    running = Checksum(ChecksumMode.CRC64NVME)
    for end in range(len(CHECK)):
        assert running.base64() == checksum(ChecksumMode.CRC64NVME, [CHECK[:end]])
        running.update(CHECK[end : end + 1])


def test_every_mode_has_its_header() -> None:
    assert {mode: header_name(mode) for mode in ChecksumMode} == {
        ChecksumMode.CRC64NVME: "x-amz-checksum-crc64nvme",
        ChecksumMode.CRC32C: "x-amz-checksum-crc32c",
        ChecksumMode.CRC32: "x-amz-checksum-crc32",
        ChecksumMode.SHA256: "x-amz-checksum-sha256",
        ChecksumMode.MD5: "content-md5",
        ChecksumMode.NONE: "",
    }


def test_a_body_that_was_summed_on_the_way_is_not_read_again() -> None:
    body = native.SummedBody([CHECK[:4], CHECK[4:]], 0xAE8B14860A799888)
    assert checksum(ChecksumMode.CRC64NVME, body) == checksum(ChecksumMode.CRC64NVME, [CHECK])
    for mode in (ChecksumMode.CRC32C, ChecksumMode.SHA256, ChecksumMode.MD5):
        assert checksum(mode, body) == checksum(mode, [CHECK])
    # The sum that came with it counts, not another look at the bytes.
    assert checksum(ChecksumMode.CRC64NVME, native.SummedBody([b"x"], 1)) == "AAAAAAAAAAE="

"""The checksums that cover a body that is sent to the store."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from dth.objects.store.capabilities import CONTENT_MD5, Capabilities, Feature
from dth.objects.store.checksums import checksum, header_name
from dth.objects.store.endpoints import ChecksumMode

PLAIN = (ChecksumMode.NONE, ChecksumMode.MD5)


class Cover:
    """The headers that cover one body, computed once for all tries.

    The configured checksum is sent wherever the store accepts it. Content-MD5 is sent too if it
    costs nothing because the source states it, or if no other checksum is known to be verified.
    `proof` is the first of those sent.
    """

    def __init__(self, known: Capabilities, chunks: Sequence[bytes], md5: str = "") -> None:
        self.proof = ""
        # Of the body, in hexadecimal; "" until it is known.
        self.md5 = md5
        self._known = known
        self._chunks = chunks
        self._sum = ""

    def headers(self, without: AbstractSet[Feature]) -> dict[str, str]:
        """The headers to send without these features. Sets `proof`."""
        wanted = self._known.wanted
        self.proof = ""
        if wanted is ChecksumMode.NONE:
            return {}
        found: dict[str, str] = {}
        if wanted not in PLAIN and Feature.SUM not in without:
            self._sum = self._sum or checksum(wanted, self._chunks)
            found[header_name(wanted)] = self._sum
            self.proof = f"{wanted}:{self._sum}"
        if Feature.MD5 not in without and (self.md5 or not found or not self._known.echoes):
            value = self.content_md5()
            found[CONTENT_MD5] = value
            self.proof = self.proof or f"{ChecksumMode.MD5}:{value}"
        return found

    def sum_of(self, algorithm: str) -> str:
        """The base64 checksum of the body by any algorithm."""
        sent, _, value = self.proof.partition(":")
        return value if sent == algorithm else checksum(algorithm, self._chunks)

    def content_md5(self) -> str:
        """The MD5 of the body in base64, computed if it is not known."""
        if not self.md5:
            value = checksum(ChecksumMode.MD5, self._chunks)
            self.md5 = b64decode(value).hex()
            return value
        return b64encode(bytes.fromhex(self.md5)).decode()


def md5_of(chunks: Sequence[bytes]) -> str:
    """The MD5 of a body in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

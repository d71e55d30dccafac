"""ETags in listings and answers: how they are written, and what they mean.

On most stores, the ETag of an object that was written in one piece and not encrypted with a key is
the MD5 of its bytes, in upper or lower case. For encrypted objects, multipart uploads, and all
objects of some stores, it is something else and shows only whether the object has changed.
"""

import re
from collections.abc import Mapping

# The hub leaves this header on the objects that it writes.
SOURCE_ETAG = "x-amz-meta-dth-source-etag"
MD5 = re.compile(r"(?!0{32})[0-9a-fA-F]{32}")
# What some stores write instead of an ETag, for many objects the same: zeros (MinIO, for files that
# it did not write itself), or the MD5 of nothing with the number of parts (s3gw).
HOLLOW = re.compile(r"0{16,}(-\d+)?|d41d8cd98f00b204e9800998ecf8427e-\d+", re.IGNORECASE)
# How all of them begin.
MAYBE_HOLLOW = frozenset({"00000000", "d41d8cd9", "D41D8CD9"})


def bare_etag(text: str) -> str:
    """An ETag without quotes (literal or as XML entities, however many) and without the mark of a
    weak one. Upper and lower case are kept, because stores compare exactly."""
    if text[:1] == '"' and text[-1:] == '"' and '"' not in (inner := text[1:-1]):
        return inner.strip()
    text = text.strip().removeprefix("W/")
    return text.replace("&quot;", '"').replace("&#34;", '"').strip('" ')


def same_etag(one: str, other: str) -> bool:
    """Whether two ETags are equal. Upper and lower case do not matter."""
    return one != "" and (one == other or (len(one) == len(other) and one.lower() == other.lower()))


def is_hollow(etag: str) -> bool:
    """Whether an ETag says nothing about the object: other objects have the same."""
    return etag[:8] in MAYBE_HOLLOW and HOLLOW.fullmatch(etag) is not None


def is_md5(etag: str) -> bool:
    """Whether an ETag looks like the MD5 of the content (no multipart suffix)."""
    return MD5.fullmatch(etag) is not None


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether an answer says that the object is encrypted with a key. Then its ETag is not a digest
    of the content."""
    encryption = headers.get("x-amz-server-side-encryption", "")
    return (
        encryption.startswith("aws:")
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )

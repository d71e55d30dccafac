"""ETags, as listings and answers have them: what they are without their dress, and what they say.

The ETag of an object that was written whole and without a key of its own is the MD5 of its bytes on most stores, in
either case of letters. Of encrypted objects, of multipart uploads, and on some stores of all objects, it is something
else, and says only whether the object has changed.
"""

import re
from collections.abc import Mapping

MD5 = re.compile(r"[0-9a-fA-F]{32}")


def bare_etag(text: str) -> str:
    """An ETag without quotes, whether they are characters or written out, and without the mark of a weak one. The case
    stays: stores compare with it."""
    if text[:1] == '"' and text[-1:] == '"':
        return text[1:-1]
    text = text.strip().removeprefix("W/")
    return text.replace("&quot;", '"').replace("&#34;", '"').strip('"')


def same_etag(one: str, other: str) -> bool:
    """Whether two ETags are equal. Digests are, in either case of letters."""
    return one != "" and (one == other or (len(one) == len(other) and one.lower() == other.lower()))


def is_md5(etag: str) -> bool:
    """Whether an ETag looks like the MD5 of the content (no multipart suffix)."""
    return MD5.fullmatch(etag) is not None


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether an answer says that the object is encrypted with a key, so that its ETag is no digest of the content."""
    encryption = headers.get("x-amz-server-side-encryption", "")
    return encryption.startswith("aws:") or "x-amz-server-side-encryption-customer-algorithm" in headers

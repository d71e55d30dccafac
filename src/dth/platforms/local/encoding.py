"""How text reaches SQLite.

Keys are stored as the bytes the store knows them by: SQLite compares BLOBs with memcmp, which is the order S3
lists in, and bytes that are not UTF-8 (or NUL) pass through unchanged.
"""


def to_blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def from_blob(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")


def to_line(text: str) -> str:
    """Text for people. It may quote a key, and TEXT takes no lone surrogates: show them as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

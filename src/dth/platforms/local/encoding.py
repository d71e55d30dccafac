"""How text is stored in SQLite.

Keys are stored as the bytes that the store knows: SQLite compares BLOBs with memcmp, which is the
order in which S3 lists, and bytes that are not UTF-8 (or NUL) are kept unchanged.
"""


def to_blob(key: str) -> bytes:
    """The bytes of a key."""
    return key.encode("utf-8", "surrogateescape")


def from_blob(blob: bytes) -> str:
    """The key with these bytes."""
    return blob.decode("utf-8", "surrogateescape")


def to_line(text: str) -> str:
    """Text for people. It may quote a key, and TEXT accepts no lone surrogates: they become
    escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

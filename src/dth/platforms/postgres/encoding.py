"""How text is stored in PostgreSQL.

Keys are stored as the bytes that the store knows: bytea is compared by its bytes, which is the
order in which S3 lists.
"""


def to_bytes(key: str) -> bytes:
    """The bytes of a key."""
    return key.encode("utf-8", "surrogateescape")


def from_bytes(stored: bytes) -> str:
    """The key with these bytes."""
    return stored.decode("utf-8", "surrogateescape")


def to_line(text: str) -> str:
    """Text for people. It may quote a key, and text accepts neither lone surrogates nor NUL: they
    become escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")

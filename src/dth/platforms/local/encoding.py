"""How text reaches SQLite.

Keys are stored as the bytes the store knows them by: SQLite compares BLOBs with memcmp, which is the order S3
lists in, and bytes that are not UTF-8 (or NUL) pass through unchanged.
"""

from typing import Any

from sqlalchemy import LargeBinary, Text
from sqlalchemy.types import TypeDecorator


def to_blob(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def from_blob(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")


def to_line(text: str) -> str:
    """Text for people. It may quote a key, and TEXT takes no lone surrogates: show them as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class Key(TypeDecorator[str]):
    """A column of keys."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:
        return None if value is None else to_blob(value)

    def process_result_value(self, value: bytes | None, dialect: Any) -> str | None:
        return None if value is None else from_blob(value)


class Line(TypeDecorator[str]):
    """A column of text for people."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else to_line(value)

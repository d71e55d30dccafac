"""Conversion of values to DynamoDB and back.

Numbers are written as Python writes them and read as int or float, without `Decimal`. Empty values
("" and None) are not stored, so they are absent when an item is read.

An object's key becomes a string of at most 1,024 bytes, the limit of a sort key. DynamoDB accepts
only UTF-8, so bytes that are not UTF-8 (lone surrogates in `str`) are written as characters from
the end of plane 16; such characters in a key are doubled. A key that gets too long is replaced by
its hash, and is stored in the attribute `Key`.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]

MAX_KEY = 1024  # Bytes: the limit of a sort key.
MAX_TEXT = 4000  # characters of a text for people

ESCAPE = 0x10FF00
# Prefix of the replacement for a key that is too long when escaped.
LONG = "\U0010ff01"
_ODD = re.compile("[\udc80-\udcff\U0010ff00-\U0010ffff]")
_ESCAPED = re.compile("[\U0010ff00](.)|[\U0010ff80-\U0010ffff]", re.DOTALL)


def key_text(key: str) -> str:
    """A key as it is stored."""
    if key.isascii() and len(key) <= MAX_KEY:
        return key
    text = _ODD.sub(lambda found: _escape(found[0]), key)
    if len(text) > MAX_KEY // 4 and len(text.encode()) > MAX_KEY:
        return LONG + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return text


def key_extra(key: str) -> Item:
    """The attributes that are needed in addition to `key_text` to restore the key."""
    return {"Key": key.encode("utf-8", "surrogateescape")} if key_text(key).startswith(LONG) else {}


def key_of(item: Mapping[str, Any], name: str = "ObjectKey") -> str:
    """The key of an item."""
    if "Key" in item:
        return bytes(item["Key"]).decode("utf-8", "surrogateescape")
    text: str = item[name]
    return text if text.isascii() else _ESCAPED.sub(lambda found: _unescape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return chr(ESCAPE + code - 0xDC00) if code < ESCAPE else chr(ESCAPE) + character


def _unescape(found: str) -> str:
    return found[1] if len(found) == 2 else chr(ord(found) - ESCAPE + 0xDC00)


def line(text: str) -> str:
    """Text for people. It may quote a key: lone surrogates become escapes."""
    text = text[:MAX_TEXT]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def pack(value: Any) -> bytes:
    """Compress plain data."""
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 6)


def unpack(data: bytes) -> Any:
    """The data that `pack` compressed."""
    return json.loads(zlib.decompress(data))


def to_item(values: Mapping[str, Any]) -> Item:
    return {
        name: to_value(value) for name, value in values.items() if value is not None and value != ""
    }


def to_value(value: Any) -> Item:
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float():
            return {"N": repr(value)}
        case bytes():
            return {"B": value}
        case set() | frozenset():
            return {"NS": [repr(each) for each in sorted(value)]}
    raise TypeError(f"no value for DynamoDB: {type(value).__name__}")


def from_item(item: Mapping[str, Item]) -> Item:
    return {name: _from_value(value) for name, value in item.items()}


def _from_value(value: Item) -> Any:
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return _number(content)
        case "NS":
            return {_number(each) for each in content}
        case "B":
            return bytes(content)
    return content


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)

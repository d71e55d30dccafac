"""The stores of this machine's user, for commands: a TOML file with one section for each store.

A section has the fields of a store (`core.stores`), and says where its keys are if no profile and
no secret does: in environment variables that it names, or in the file itself, which then only its
owner may read.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dth.core.config import config_directory
from dth.core.errors import UsageError, reason_of
from dth.core.stores import Store

# The beginning of the name of a secret whose value is the keys of a store of this file.
KEYS_OF = "store:"
KEYS = ("access_key_id", "secret_access_key", "session_token")
VARIABLES = ("access_key_variable", "secret_key_variable")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# What else may stand before a colon.
RESERVED = ("arn", "file", "http", "https", "s3", "stdin")
SECTION = re.compile(r"""(?m)^[ \t]*\[[ \t]*(?:"([^"\n]*)"|([^]\s]+))[ \t]*\][^\n]*$""")


def stores_path() -> Path:
    """`stores.toml` in the directory of the user's settings, or what `DTH_STORES` names."""
    return Path(os.environ.get("DTH_STORES") or config_directory() / "stores.toml")


def read_stores() -> dict[str, dict[str, Any]]:
    """The fields of each store, by name. Raises UsageError."""
    path = stores_path()
    try:
        text = path.read_bytes()
        found = tomllib.loads(text.decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    for name, values in found.items():
        if not isinstance(values, dict):
            raise UsageError(
                f"{path}: {name!r} stands outside of the section of a store, such as [old-minio]"
            )
        if any(each in values for each in KEYS) and path.stat().st_mode & 0o077:
            raise UsageError(f"{path} holds keys and can be read by others; run: chmod 600 {path}")
    return found


def store_named(name: str) -> Store:
    """Raises UsageError."""
    found = read_stores()
    if name not in found:
        known = f"; there is {', '.join(sorted(found))}" if found else ""
        raise UsageError(f"there is no store {name!r} in {stores_path()}{known}")
    return store_of(name, found[name])


def store_of(name: str, values: Mapping[str, Any]) -> Store:
    """The store of a section. Raises UsageError for what no store has."""
    given = {field: value for field, value in values.items() if field not in (*KEYS, *VARIABLES)}
    store = Store.read(name, given)
    if len(given) == len(values):
        return store
    if store.secret or store.profile or store.anonymous:
        raise UsageError(
            f"store {name!r} has keys, and also a secret, a profile or anonymous access; leave "
            "one out"
        )
    return Store.read(name, given | {"secret": f"{KEYS_OF}{name}"})


def keys_of(secret: str) -> str:
    """The value of a secret that stands for the keys of a store: JSON. Raises UsageError."""
    name = secret.removeprefix(KEYS_OF)
    values = read_stores().get(name, {})
    if variables := [values.get(each, "") for each in VARIABLES if each in values]:
        if len(variables) < len(VARIABLES):
            raise UsageError(f"store {name!r}: {VARIABLES[0]} and {VARIABLES[1]} go together")
        for each in variables:
            if not os.environ.get(each):
                raise UsageError(f"store {name!r}: the environment variable {each} is not set")
        found = dict(zip(KEYS[:2], (os.environ[each] for each in variables), strict=True))
    else:
        found = {each: values[each] for each in KEYS if values.get(each)}
    if not all(isinstance(found.get(each), str) for each in KEYS[:2]):
        raise UsageError(f"store {name!r}: {KEYS[0]} and {KEYS[1]} go together")
    return json.dumps(found)


def add_store(name: str, values: Mapping[str, Any], *, replace: bool = False) -> None:
    """Write a store to the file; the rest of the file stays as it is. Raises UsageError."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            f"{name[:80]!r} is not a name for a store: letters, digits and any of _.- make "
            "one, up to 63"
        )
    store_of(name, values)
    known = read_stores()
    if name in known and not replace:
        raise UsageError(f"there is a store {name!r} in {stores_path()} already; remove it first")
    text = _without(name) if name in known else _text()
    lines = [f'["{name}"]' if "." in name else f"[{name}]"]
    lines += [f"{field} = {_value(name, field, value)}" for field, value in values.items()]
    _write("\n\n".join(part for part in (text.rstrip(), "\n".join(lines)) if part) + "\n")


def remove_store(name: str) -> None:
    """Raises UsageError."""
    store_named(name)
    _write(_without(name))


def _text() -> str:
    try:
        return stores_path().read_text("utf-8")
    except FileNotFoundError:
        return ""


def _without(name: str) -> str:
    """The text of the file without the section of this store."""
    text = _text()
    sections = list(SECTION.finditer(text))
    for number, section in enumerate(sections):
        if (section[1] or section[2]) == name:
            end = sections[number + 1].start() if number + 1 < len(sections) else len(text)
            return text[: section.start()] + text[end:]
    raise UsageError(
        f"{stores_path()}: the section of {name!r} is not written as [{name}]; remove it by hand"
    )


def _value(name: str, field: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not str(value).isprintable():
        raise UsageError(f"store {name!r}: {field} has characters that cannot be printed")
    return json.dumps(value, ensure_ascii=False)


def _write(text: str) -> None:
    path = stores_path()
    partial = path.with_name(f"{path.name}.new")
    try:
        tomllib.loads(text)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        partial.replace(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be written: {reason_of(error)}; XDG_CONFIG_HOME names another folder"
        ) from None

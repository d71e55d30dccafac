"""The only way into the API: `resolve` checks the caller's role, records every change in the audit
log, and calls the function of a root field.
"""

import functools
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dth.core import clock
from dth.core.errors import (
    BeingSetUp,
    Conflict,
    Forbidden,
    HubError,
    NotFound,
    Unauthenticated,
    UsageError,
)
from dth.hub.api.answers import as_json, camel, snake
from dth.hub.audit import target_of
from dth.hub.model import AuditEntry, Identity, Role
from dth.hub.ports import HubPorts

# The text before an "@", matched backwards, and the text after an "@" that starts the digest of an
# image.
BEFORE = re.compile(r"""[^\s/"]*""")
DIGEST = re.compile(r"sha[0-9]+:")
WITHHELD = ("value", "password", "token")  # arguments that must not be logged
Resolver = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Field:
    """A root field: its function, who may call it, and whether it changes something."""

    function: Resolver
    role: Role
    changes: bool


@dataclass(frozen=True, slots=True)
class Call:
    """The context of a resolver call, passed in addition to the arguments."""

    ports: HubPorts
    caller: Identity


FIELDS: dict[str, Field] = {}


def query(role: Role = Role.VIEWER) -> Callable[[Resolver], Resolver]:
    """Register a root field that changes nothing. `role`: the least that a caller needs."""
    return _field(role, changes=False)


def mutation(role: Role) -> Callable[[Resolver], Resolver]:
    """Register a root field that changes something; the audit log records its calls."""
    return _field(role, changes=True)


def _field(role: Role, *, changes: bool) -> Callable[[Resolver], Resolver]:
    def register(function: Resolver) -> Resolver:
        FIELDS[camel(function.__name__)] = Field(function, role, changes)
        return function

    return register


def empty_at_first(empty: Callable[[], Any]) -> Callable[[Resolver], Resolver]:
    """Return an empty answer for a task whose records do not exist yet."""

    def decorate(function: Resolver) -> Resolver:
        @functools.wraps(function)
        async def answered(call: Call, **given: Any) -> Any:
            try:
                return await function(call, **given)
            except BeingSetUp:
                return empty()

        return answered

    return decorate


async def resolve(
    ports: HubPorts, caller: Identity | None, name: str, arguments: Mapping[str, Any]
) -> Any:
    """Answer one root field for a caller, JSON-safe. Raises HubError; `code_of` gives its code."""
    field = FIELDS[name]
    if caller is None:
        raise Unauthenticated("sign in first")
    if not caller.role.covers(field.role):
        raise Forbidden(f"{name} needs the role {field.role}; you have {caller.role}")
    # Optional arguments may be null: existing clients send all of their variables.
    arguments = {key: value for key, value in arguments.items() if value is not None}
    given = {snake(key): value for key, value in arguments.items()}
    call = Call(ports, caller)
    if not field.changes:
        return as_json(await field.function(call, **given))
    entry = await ports.audit.begin(
        AuditEntry(
            clock.now(), caller.name, caller.via, name, _target(name, arguments), _detail(arguments)
        )
    )
    try:
        answer = await field.function(call, **given)
    except BaseException as error:
        await ports.audit.end(entry, code_of(error))
        raise
    await ports.audit.end(entry, "ok", _subject(answer))
    return as_json(answer)


def code_of(error: BaseException) -> str:
    """The error code for clients."""
    codes: dict[type[BaseException], str] = {
        NotFound: "NOT_FOUND",
        Conflict: "CONFLICT",
        Unauthenticated: "UNAUTHENTICATED",
        Forbidden: "FORBIDDEN",
        UsageError: "BAD_INPUT",
        HubError: "FAILED",
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), "INTERNAL")


def _subject(answer: Any) -> str:
    """The id or name of what a change created or changed, as it is now; "" if the answer has
    neither."""
    return str(getattr(answer, "id", "") or getattr(answer, "name", ""))


def _target(what: str, arguments: Mapping[str, Any]) -> str:
    return target_of(what, str(arguments.get("id") or arguments.get("name") or ""))


def _detail(arguments: Mapping[str, Any]) -> str:
    """The arguments as JSON, without secrets."""
    shown = {name: "(withheld)" if name in WITHHELD else value for name, value in arguments.items()}
    given = shown.get("input")
    if isinstance(given, dict) and "target" in given:
        # Anybody who knows the URL of a webhook can post to it.
        shown["input"] = {**given, "target": "(withheld)"}
    return _without_passwords(json.dumps(shown, default=str))[:8000]


def _without_passwords(text: str) -> str:
    """Remove users and passwords of URLs from a text. No parameter may contain them, but refused
    input is logged, too.

    The function reads each part once, because the input may be long and arbitrary.
    """
    *parts, last = text.split("@")
    shown = []
    for part, following in zip(parts, [*parts, last][1:], strict=True):
        match = BEFORE.match(part[::-1])
        start = len(part) - (match.end() if match else 0)
        rest, user = part[:start], part[start:]
        is_user = ":" in user or (user and rest.endswith("//"))
        shown.append(f"{rest}(withheld)" if is_user and not DIGEST.match(following) else part)
    return "@".join([*shown, last])

"""The one way into the API: `resolve` checks the caller's role, writes every change into the audit log, and calls the
function of a root field.
"""

import functools
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dth.core.errors import BeingSetUp, Conflict, Forbidden, HubError, NotFound, Unauthenticated, UsageError
from dth.hub.api.answers import as_json, camel, snake
from dth.hub.model import AuditEntry, Identity, Role
from dth.hub.ports import HubPorts

# What stands before an "@", read backwards, and what follows where it is the digest of an image.
BEFORE = re.compile(r"""[^\s/"]*""")
DIGEST = re.compile(r"sha[0-9]+:")
WITHHELD = ("value", "password", "token")  # arguments that no log may have
Resolver = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Field:
    """A root field: what answers it, who may call it, and whether it changes something."""

    function: Resolver
    role: Role
    changes: bool


@dataclass(frozen=True, slots=True)
class Call:
    """What a resolver is called with, besides its arguments."""

    ports: HubPorts
    caller: Identity


FIELDS: dict[str, Field] = {}


def query(role: Role = Role.VIEWER) -> Callable[[Resolver], Resolver]:
    return _field(role, changes=False)


def mutation(role: Role) -> Callable[[Resolver], Resolver]:
    return _field(role, changes=True)


def _field(role: Role, *, changes: bool) -> Callable[[Resolver], Resolver]:
    def register(function: Resolver) -> Resolver:
        FIELDS[camel(function.__name__)] = Field(function, role, changes)
        return function

    return register


def empty_at_first(empty: Callable[[], Any]) -> Callable[[Resolver], Resolver]:
    """What is asked of a task whose records are not there yet is answered as one without any."""

    def decorate(function: Resolver) -> Resolver:
        @functools.wraps(function)
        async def answered(call: Call, **given: Any) -> Any:
            try:
                return await function(call, **given)
            except BeingSetUp:
                return empty()

        return answered

    return decorate


async def resolve(ports: HubPorts, caller: Identity | None, name: str, arguments: Mapping[str, Any]) -> Any:
    """Answer one root field for a caller, JSON-safe. Raises HubError; `code_of` has its code."""
    field = FIELDS[name]
    if caller is None:
        raise Unauthenticated("sign in first")
    if not caller.role.covers(field.role):
        raise Forbidden(f"{name} needs the role {field.role}; you have {caller.role}")
    # What may be left out may be null: existing clients send all of their variables.
    arguments = {key: value for key, value in arguments.items() if value is not None}
    given = {snake(key): value for key, value in arguments.items()}
    call = Call(ports, caller)
    if not field.changes:
        return as_json(await field.function(call, **given))
    entry = await ports.audit.begin(
        AuditEntry(time.time(), caller.name, caller.via, name, _target(arguments), _detail(arguments))
    )
    try:
        answer = await field.function(call, **given)
    except BaseException as error:
        await ports.audit.end(entry, code_of(error))
        raise
    await ports.audit.end(entry, "ok", _subject(answer))
    return as_json(answer)


def code_of(error: BaseException) -> str:
    """The code that clients tell errors by."""
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
    """What a change made or changed, by the id or the name that it has now; "" for what answers neither."""
    return str(getattr(answer, "id", "") or getattr(answer, "name", ""))


def _target(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("id") or arguments.get("name") or "")


def _detail(arguments: Mapping[str, Any]) -> str:
    """The arguments as JSON, without what is secret."""
    shown = {name: "(withheld)" if name in WITHHELD else value for name, value in arguments.items()}
    given = shown.get("input")
    if isinstance(given, dict) and "target" in given:
        shown["input"] = {**given, "target": "(withheld)"}  # a webhook's URL lets anybody post
    return _without_passwords(json.dumps(shown, default=str))[:8000]


def _without_passwords(text: str) -> str:
    """A text without users and passwords of URLs. No parameter may have them, but what is refused is written down, too.

    Each part is looked at once: a text may be long, and of any make.
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

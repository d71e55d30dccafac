"""Errors for a registry's unsuccessful answers."""

import json
from typing import Any

from dth.core.confinement import foreign
from dth.core.errors import (
    NotSupported,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    Unreachable,
    error_code,
)
from dth.core.transport import Response
from dth.images.registry.headers import seconds_to_wait

# What servers say if a request without TLS reaches a port with TLS.
WANTS_TLS = (
    b"HTTP request to an HTTPS server",
    b"plain HTTP request was sent to HTTPS port",
)


def refusal(answer: Response, what: str) -> TransferError:
    """Return the error for an unsuccessful answer to the request `what`."""
    status = answer.status
    code, said = said_in(answer)
    if status == 400 and any(words in answer.body for words in WANTS_TLS):
        # Neither the method nor the path matters.
        host = what.partition(" ")[2].partition("/")[0]
        return Unreachable(f"{host} speaks https only", code="WantsTls", host=host)
    line = f"{what}: HTTP {status}{f' {code}' if code else ''}{colon(said)}"
    details: dict[str, Any] = {"code": code or f"HTTP{status}", "status": status, "said": said}
    if status == 429 or code == "TOOMANYREQUESTS":
        return Throttled(line, retry_after=seconds_to_wait(answer.headers), **details)
    if status >= 500 and status != 501:
        return Transient(line, retry_after=seconds_to_wait(answer.headers), **details)
    if status == 404:
        return SourceGone(line, **details)
    if status in (405, 501) or code == "UNSUPPORTED":
        return NotSupported(line, **details)
    if status == 408:
        return Transient(line, **details)
    return ObjectRefused(line, **details)


def colon(said: str) -> str:
    """Return the end of a message: the registry's words, if any. (The answer to a HEAD has
    none.)"""
    return f": {said}" if said else ""


def said_in(answer: Response) -> tuple[str, str]:
    """Return the code and message of an error, each as one line."""
    fields = json_in(answer)
    errors = fields.get("errors")
    first = (
        errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else fields
    )
    code = str(first.get("code") or "")
    said = str(first.get("message") or first.get("details") or "")[:2000]
    if not fields and answer.body.strip() not in (b"{}", b"null"):
        said = answer.body[:200].decode("utf-8", "replace")
    return error_code(code), foreign(" ".join(said.split())[:300])


def other_host(host: str) -> str:
    """Return a host from an answer in a form that is safe to show."""
    return foreign(host) or "another host"


def json_in(answer: Response) -> dict[str, Any]:
    """Return the JSON object in an answer; an empty one if there is none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""A client of a hub's GraphQL API, for the command line."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from dth.core import no_answer
from dth.core.errors import (
    Conflict,
    Forbidden,
    HubError,
    NotFound,
    Unauthenticated,
    UsageError,
    reason_of,
)

TIMEOUT = 60.0  # seconds
# Answers that a hub never gives to a call.
NO_HUB = (404, 405, 501)
ERRORS: dict[str, type[HubError]] = {
    "BAD_INPUT": UsageError,
    "NOT_FOUND": NotFound,
    "CONFLICT": Conflict,
    "FORBIDDEN": Forbidden,
    "UNAUTHENTICATED": Unauthenticated,
}
AUTHORIZED = {  # AppSync's own codes
    "UnauthorizedException": "UNAUTHENTICATED",
    "UnrecognizedClientException": "UNAUTHENTICATED",
    "BadRequestException": "UNAUTHENTICATED",
    "Unauthorized": "FORBIDDEN",
    "AccessDeniedException": "FORBIDDEN",
}

Authorize = Callable[[str, bytes], Mapping[str, str]]
"""URL and body of a request -> the headers that say who asks. It is called for every request, so
that a token may be renewed meanwhile."""


def with_token(token: Callable[[], str]) -> Authorize:
    """Send the token alone, without `Bearer`: AppSync accepts nothing else, and a hub accepts
    both."""
    return lambda url, body: {"authorization": token()}


class HubClient:
    """Calls one hub, by its address or by the address of its API."""

    def __init__(self, url: str, authorize: Authorize, ca_bundle: str = "") -> None:
        self.url = url.rstrip("/").removesuffix("/graphql")
        self._authorize = authorize
        context = ssl.create_default_context(cafile=ca_bundle or None)
        # A proxy from the environment must not be used for a hub on this machine.
        handlers: list[Any] = [urllib.request.HTTPSHandler(context=context)]
        if "//127.0.0.1" in url or "//localhost" in url or "//[::1]" in url:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def call(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The `data` of the answer. Raises the HubError that corresponds to the hub's error
        code."""
        url = f"{self.url}/graphql"
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        headers = {"content-type": "application/json", **self._authorize(url, body)}
        request = urllib.request.Request(url, body, headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            answer = _body(error)
            if error.code in NO_HUB and not answer.get("errors"):
                raise HubError(
                    f"what answers at {self.url} is not a hub ({error.code} {error.reason}); see "
                    "that its address (--hub) is right"
                ) from None
            if not answer.get("errors"):
                raise HubError(
                    f"the hub at {self.url} answered {error.code} {error.reason}"
                ) from None
        except (urllib.error.URLError, OSError) as error:
            said = reason_of(error)
            why = no_answer.meaning(said, urlsplit(self.url).netloc) or said
            raise HubError(
                f"the hub at {self.url} does not answer: {why}; {_remedy(said)}"
            ) from None
        except ValueError:
            raise HubError(
                f"what answers at {self.url} is not a hub; see that its address (--hub) is right"
            ) from None
        for told in answer.get("errors") or []:
            # AppSync uses errorType where others use extensions.code.
            code = (told.get("extensions") or {}).get("code") or told.get("errorType") or ""
            message = str(told.get("message"))
            if code in AUTHORIZED:
                message = f"{self.url} refused the call: {message} ({code})"
            elif code == "UNAUTHENTICATED":
                message += (
                    f"; sign in (dth login --hub {self.url}), or put a valid token in DTH_TOKEN"
                )
            raise ERRORS.get(AUTHORIZED.get(code, code), HubError)(message)
        return dict(answer["data"])


def _remedy(said: str) -> str:
    """What to do about a hub that gives no answer."""
    if no_answer.lacks_tls(said):
        return "write http:// in its address (--hub) if that is meant, or correct the port"
    if no_answer.is_of_tls(said):
        return no_answer.certificate_remedy(
            said, authorities="SSL_CERT_FILE", address="its address (--hub)"
        )
    return "see that it runs, and that its address (--hub) is right"


def _body(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        found = json.load(error)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
